"""Clients in other languages live through a job, and all of them see what ``golden.json`` says, whatever its ids."""

import asyncio
import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from contracts.chat import AskChat, ChatPiece
from contracts.jobs import JobSubmitted, model_name
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import CheckpointCommitted
from libs.bus import Router
from libs.db import Database
from libs.service import App
from libs.testing.platform import World
from tests.clients.programs import HERE, NODE_PACKAGES, node, php
from tests.integration.gateway.conftest import LINES, Gateway, Story, now
from tests.integration.gateway.test_webhooks import both

GOLDEN = json.loads((HERE / "golden.json").read_text())
WEIGHTS = b"weights" * 1000
CURVE = b"step,train_loss\n1,2.0\n"
PAGES = {"pdf": b"%PDF", "html": b"<p>", "json": b"{}"}
PATIENCE = 120.0
LIVE = {"job.submitted.v1", "job.queued.v1", "run.checkpoint_committed.v1", "run.finished.v1", "job.succeeded.v1"}
CLIENTS = HERE.parents[1] / "docs" / "clients"
EXAMPLES = HERE.parents[1] / "docs" / "examples"
WEBHOOKS_PAGE = HERE.parents[1] / "docs" / "how-to" / "webhooks.md"


def _node(folder: Path) -> list[str]:
    return [node(), str(HERE / "job.mjs")]


def _php(folder: Path) -> list[str]:
    [shown] = re.findall(r"```php\n(.*?)```", WEBHOOKS_PAGE.read_text(), re.DOTALL)
    (folder / "receiver.php").write_text("<?php\n" + shown)
    return [php("GuzzleHttp/autoload.php"), str(HERE / "job.php")]


def _typescript(folder: Path) -> list[str]:
    """Compile the client with its program and with what the Next.js example asks, as strictly as TypeScript can."""
    found = node()
    for file in (CLIENTS / "woodshed.ts", HERE / "typed.ts", HERE / "tsconfig.json"):
        (folder / file.name).write_text(file.read_text())
    shutil.copytree(EXAMPLES / "nextjs" / "app", folder / "nextjs" / "app")
    (folder / "nextjs" / "lib").mkdir()
    shutil.copy(EXAMPLES / "nextjs" / "lib" / "woodshed.ts", folder / "nextjs" / "lib")
    shutil.copy(CLIENTS / "woodshed.ts", folder / "nextjs" / "lib" / "client.ts")
    (folder / "node_modules").symlink_to(NODE_PACKAGES)
    (folder / "package.json").write_text('{"type": "module"}')
    compiler = NODE_PACKAGES / "typescript" / "bin" / "tsc"
    done = subprocess.run([found, compiler, "-p", folder], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout
    return [found, str(folder / "typed.js")]


def _typed_php(folder: Path) -> list[str]:
    return [php("GuzzleHttp/autoload.php"), str(HERE / "typed.php")]


class Speaker:
    """Stands in for the evaluator, and keeps what it was asked: one word after the other, always the same."""

    def __init__(self) -> None:
        self.router = Router("evaluator")
        self.router.streams(AskChat)(self.speak)
        self.asked: list[AskChat] = []

    async def speak(self, question: AskChat, database: Database) -> AsyncGenerator[ChatPiece]:
        self.asked.append(question)
        yield ChatPiece(prompt_tokens=9)
        for number, word in enumerate(("The ", "dearest ", "debt."), start=1):
            finish = "stop" if number == 3 else ""
            yield ChatPiece(text=word, prompt_tokens=9, completion_tokens=number, finish=finish, fingerprint="fp_1")


@pytest.mark.parametrize("command", [_node, _php], ids=["openai-node", "php"])
async def test_a_program_sees_a_jobs_whole_life(
    command: Callable[[Path], list[str]], world: World, tmp_path: Path
) -> None:
    seen = await _seen_by(command(tmp_path), world, tmp_path)
    assert list(_differences(GOLDEN, seen)) == []
    assert seen["called"]["data"]["id"] == seen["job"]["id"]


@pytest.mark.parametrize("command", [_typescript, _typed_php], ids=["typescript", "php"])
async def test_a_client_written_from_the_description_sees_the_same(
    command: Callable[[Path], list[str]], world: World, tmp_path: Path
) -> None:
    seen = await _seen_by(command(tmp_path), world, tmp_path)
    golden = copy.deepcopy(GOLDEN)
    for key in ("called", "forged", "streamed", "usage"):
        golden.pop(key)
    for refusal in (golden["refused"], golden["unauthorised"], *golden["missing"]):
        refusal.pop("type", None)
    assert list(_differences(golden, seen)) == []
    assert seen["adapter"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert set(seen["live"]) >= LIVE


async def test_the_laravel_example_starts_a_job_follows_it_and_hands_out_its_adapter(
    world: World, tmp_path: Path
) -> None:
    program = [php("GuzzleHttp/autoload.php", "Illuminate/Foundation/Application.php"), str(HERE / "laravel.php")]
    async with both(world, tmp_path / "storage") as gateway:
        living = asyncio.create_task(_live(gateway))
        try:
            seen = await _run(program, gateway, tmp_path, living)
        finally:
            living.cancel()
        [job] = (await gateway.http.get("/v1/fine_tuning/jobs")).json()["data"]
        [file] = (await gateway.http.get("/v1/files", params={"purpose": "fine-tune"})).json()["data"]
    assert [page["status"] for page in seen.values()] == [302, 200, 200, 200, 200]
    assert seen["started"]["location"].endswith(f"/jobs/{job['id']}")
    assert (file["filename"], job["woodshed"]["suffix"]) == ("chats.jsonl", "coach")
    assert "event: job.queued.v1\n" in seen["live"]["body"]
    assert seen["live"]["body"].rstrip().rpartition("event: ")[2].startswith("job.succeeded.v1\n")
    assert f'/jobs/{job["id"]}">coach</a>' in seen["listed"]["body"]
    assert "Download the adapter" in seen["job"]["body"]
    assert seen["adapter"]["body"] == WEIGHTS.decode()


async def _seen_by(program: list[str], world: World, folder: Path) -> Any:
    """Let a program live through a job, and check what no golden file can know: that the ids belong together."""
    speaker = Speaker()
    async with (
        both(world, folder / "storage") as gateway,
        world.service(App(speaker.router), await world.platform("evaluator")),
    ):
        living = asyncio.create_task(_live(gateway))
        try:
            seen = await _run(program, gateway, folder, living)
        finally:
            living.cancel()
    seen["events"] = _without_notices(seen["events"])
    job = seen["job"]
    assert seen["listed"] == [job["id"]] == [seen["submitted"]["id"]]
    assert {question.job_id for question in speaker.asked} == {job["id"]}
    assert seen["model"]["id"] == job["fine_tuned_model"]
    assert {each["fine_tuning_job_id"] for each in seen["checkpoints"]} == {job["id"]}
    return seen


async def _live(gateway: Gateway) -> None:
    """Tell the facts of the program's job as soon as it is there, and its end when the notifier knows whom to call."""
    [submitted] = await gateway.world.told(JobSubmitted, timeout=PATIENCE)
    story = Story(await gateway.job(submitted.job_id))
    story.model = model_name(SHIPPED_MODEL, "studio", "coach", story.job_id)
    storage = gateway.platform.storage
    await storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", WEIGHTS)
    await storage.put_bytes(f"{story.adapter}/metrics.csv", CURVE)
    await gateway.world.tell(story.dataset_ready())
    await gateway.until(f"/v1/datasets/{story.dataset_id}", lambda found: found["state"] == "ready", PATIENCE)
    for fact in (story.queued(), story.dispatched(), _saved(story, 15), _saved(story, 30), story.finished(WEIGHTS)):
        await gateway.world.tell(fact)
    await _heard_by_the_notifier(gateway)
    await gateway.until(f"/v1/fine_tuning/jobs/{story.job_id}/artifacts", lambda page: page["data"], PATIENCE)
    await gateway.world.tell(story.succeeded())
    await _shown(gateway, story)
    await gateway.world.tell(story.report(PAGES))


async def _shown(gateway: Gateway, story: Story) -> None:
    """Wait until the gateway shows all that the job left; the report alone is still to come."""
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    lines = len(GOLDEN["events"]) - 1
    await gateway.until(f"{path}/events", lambda page: len(_without_notices(page["data"])) == lines, PATIENCE)
    await gateway.until(path, lambda job: job["result_files"], PATIENCE)


def _without_notices(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what the notifier tells whenever it is done."""
    return [each for each in events if not each["message"].startswith("Notice")]


def _saved(story: Story, step: int) -> CheckpointCommitted:
    return CheckpointCommitted(
        tenant="studio", at=now(), version=step, run_id=story.run_id, job_id=story.job_id,
        fence=1, step=step, uri="u", size=1, sha256="a" * 64, loss=2.0, eval_loss=1.5 if step == 30 else None,
    )  # fmt: skip


async def _heard_by_the_notifier(gateway: Gateway) -> None:
    async with asyncio.timeout(PATIENCE):
        while (info := await gateway.world.js.consumer_info("EVENTS", "notifier")).num_pending or info.num_ack_pending:
            await asyncio.sleep(0.02)


async def _run(command: list[str], gateway: Gateway, folder: Path, living: asyncio.Task[None]) -> Any:
    (folder / "chats.jsonl").write_bytes(LINES)
    given = {
        "WOODSHED_URL": gateway.url,
        "WOODSHED_KEY": gateway.key,
        "TRAINING_FILE": str(folder / "chats.jsonl"),
        "WOODSHED_CLIENT": str(CLIENTS / "Woodshed.php"),
        "LARAVEL_EXAMPLE": str(EXAMPLES / "laravel"),
        "LARAVEL_HOME": str(folder),
        "RECEIVER": str(folder / "receiver.php"),
    }
    with (folder / "complaints").open("wb") as complaints:
        process = await asyncio.create_subprocess_exec(
            *command, env=os.environ | given, stdout=asyncio.subprocess.PIPE, stderr=complaints
        )
    talking = asyncio.create_task(process.communicate())
    try:
        await asyncio.wait((talking, living), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if living.done() and not living.exception():
            await asyncio.wait((talking,), timeout=PATIENCE)
        if not talking.done():
            jobs = (await gateway.http.get("/v1/fine_tuning/jobs")).text
            said = (folder / "complaints").read_text()
            raise AssertionError(f"It still waits, after {said!r}; its job's life is at {living}: {jobs}")
        out, _ = await talking
    finally:
        talking.cancel()
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{out.decode()}\n{(folder / 'complaints').read_text()}"
    return json.loads(out)


def _differences(wanted: Any, seen: Any, where: str = "$") -> Iterator[str]:
    """Tell where a program saw something else. A text with stars is a pattern; keys that are not named may be there."""
    match wanted:
        case dict() if isinstance(seen, dict):
            for key, each in wanted.items():
                yield from _differences(each, seen.get(key, "nothing"), f"{where}.{key}")
        case list() if isinstance(seen, list) and len(seen) == len(wanted):
            for number, (each, other) in enumerate(zip(wanted, seen, strict=True)):
                yield from _differences(each, other, f"{where}[{number}]")
        case "a time":
            if not isinstance(seen, int) or seen < 1_700_000_000:
                yield f"{where} is {seen!r}, no time"
        case str() if isinstance(seen, str) and fnmatchcase(seen, wanted):
            return
        case _ if wanted != seen or isinstance(wanted, bool) != isinstance(seen, bool):
            yield f"{where} is {seen!r}, not {wanted!r}"
