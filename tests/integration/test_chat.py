"""A conversation from OpenAI's own client to a model and back: gateway, broker, evaluator, answering process."""

import asyncio
import hashlib
import io
import json
import os
import sys
import zipfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from contracts.recipes import SHIPPED_MODEL
from libs.lm.adapters import WEIGHTS
from libs.service import Platform
from libs.testing.family import descendants
from libs.testing.models import tiny_model
from libs.testing.platform import World
from services.evaluator.app import build
from services.evaluator.asking import Asker
from services.evaluator.settings import Settings
from tests.integration.evaluator.conftest import adapter
from tests.integration.gateway.conftest import Gateway, Story, listening

TUNED = "ft:coach"
HELLO = [{"role": "user", "content": "I owe 700 dollars. What is first?"}]
GREEDY: dict[str, Any] = {"messages": HELLO, "temperature": 0, "max_tokens": 12}
PATIENCE = 120.0
CONTEXT = 100_000
ENDLESS: dict[str, Any] = {"max_tokens": CONTEXT}


class Studio(NamedTuple):
    """A gateway and an evaluator that run, and the adapter of a finished job."""

    gateway: Gateway
    asker: Asker
    story: Story

    async def say(self, model: str, **changes: Any) -> Any:
        return await self.gateway.openai.chat.completions.create(model=model, **(GREEDY | changes), timeout=PATIENCE)


@pytest.fixture
async def studio(world: World, shipped_model: Path, tmp_path: Path) -> AsyncIterator[Studio]:
    _with_room_to_talk(tiny_model(shipped_model, tmp_path / "models" / SHIPPED_MODEL))
    async with listening(world, tmp_path / "storage") as gateway, _evaluating(gateway, tmp_path) as asker:
        story = Story(await gateway.submit())
        made = adapter(tmp_path / "adapter", 1.0)
        for each in made.iterdir():
            await gateway.platform.storage.put_file(f"{story.adapter}/{each.name}", each)
        for fact in (story.dispatched(), story.finished((made / WEIGHTS).read_bytes()), story.succeeded()):
            await gateway.world.tell(fact)
        await gateway.until(f"/v1/models/{TUNED}", lambda found: found.get("id") == TUNED, PATIENCE)
        yield Studio(gateway, asker, story)


def _with_room_to_talk(model: Path) -> None:
    """Let a model talk for longer than this test waits for anything: only who stops it ends such a reply."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": CONTEXT}))


@asynccontextmanager
async def _evaluating(gateway: Gateway, folder: Path) -> AsyncIterator[Asker]:
    connected = await gateway.world.platform("evaluator")
    platform = Platform(connected.db, connected.bus, gateway.platform.storage)
    settings = gateway.world.settings(
        Settings, models_dir=str(folder / "models"), data_dir=str(folder), precision="float32", threads=1
    )
    assert isinstance(settings, Settings)
    app = await build(settings, platform)
    asker = app.resources["asker"]
    assert isinstance(asker, Asker)
    async with gateway.world.service(app, platform):
        yield asker


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.02)


async def test_openais_client_talks_with_base_and_tuned(studio: Studio) -> None:
    await _known_to_the_evaluator(studio)
    base, tuned = await studio.say(SHIPPED_MODEL), await studio.say(TUNED, logprobs=True, top_logprobs=1)
    assert (base.object, base.model, tuned.model) == ("chat.completion", SHIPPED_MODEL, TUNED)
    assert base.choices[0].message.content != tuned.choices[0].message.content
    assert (tuned.choices[0].finish_reason, tuned.usage.completion_tokens) == ("length", 12)
    assert tuned.usage.total_tokens == tuned.usage.prompt_tokens + 12
    assert base.system_fingerprint != tuned.system_fingerprint

    await _runs_elsewhere_and_says_what_was_trained(studio)
    await _streams_the_same(studio, tuned)
    await _takes_turns(studio)
    await _stops_when_the_client_leaves(studio)
    await _says_what_does_not_fit(studio)
    await _survives_its_process(studio, tuned)
    await _never_answers_for_a_missing_adapter(studio)


async def _runs_elsewhere_and_says_what_was_trained(studio: Studio) -> None:
    """Download the deployment in two parts, unpack it, and run its program as somebody without Woodshed would."""
    http, path = studio.gateway.http, f"/v1/fine_tuning/jobs/{studio.story.job_id}/deployment.zip"
    first = await http.get(path, headers={"Range": "bytes=0-19999"})
    assert (first.status_code, first.headers["content-range"].split("/")[0]) == (206, "bytes 0-19999")
    tag = first.headers["etag"]
    rest = await http.get(path, headers={"Range": "bytes=20000-", "If-Range": tag})
    assert (await http.get(path, headers={"If-None-Match": tag})).status_code == 304
    folder = Path(studio.asker.settings.data_dir) / "elsewhere"
    zipfile.ZipFile(io.BytesIO(first.content + rest.content)).extractall(folder)
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    program = [sys.executable, str(folder / "inference.py"), HELLO[0]["content"], "--max-tokens", "12"]
    base = Path(studio.asker.settings.models_dir) / SHIPPED_MODEL
    running = await asyncio.create_subprocess_exec(
        *program, "--base", str(base), stdout=PIPE, stderr=PIPE, cwd=folder, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    said, went = await running.communicate()
    assert running.returncode == 0, went.decode()
    adapter = Path(studio.asker.settings.data_dir) / "adapter"
    trained = await asyncio.to_thread(_as_trained, base, adapter)
    assert said.decode().strip() == trained
    (folder / "model" / WEIGHTS).write_bytes(b"others")
    altered = await asyncio.create_subprocess_exec(*program, stderr=PIPE, cwd=folder)
    assert b"is not what was delivered" in (await altered.communicate())[1]


def _as_trained(base: Path, adapter: Path) -> str:
    import torch

    from libs.lm import generate

    torch.set_num_threads(1)
    loaded = generate.load(base, adapter, dtype="float32")
    return generate.replies(loaded, [HELLO], tuned=True, max_new_tokens=12)[0].text


async def _known_to_the_evaluator(studio: Studio) -> None:
    """Ask until the evaluator has heard of the run, and compared: until then its model is missing, or waits."""
    async with asyncio.timeout(3 * PATIENCE):
        while (await _code(studio)) in ("model_not_found", "busy"):
            await asyncio.sleep(0.05)


async def _code(studio: Studio) -> str | None:
    try:
        await studio.say(TUNED, max_tokens=1)
    except openai.APIStatusError as error:
        return error.code
    return None


async def _streams_the_same(studio: Studio, whole: Any) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 1}
    chunks = [chunk async for chunk in await studio.say(TUNED, **options)]
    opening, *middle, end, usage = chunks
    assert (opening.choices[0].delta.role, opening.object) == ("assistant", "chat.completion.chunk")
    assert "".join(each.choices[0].delta.content for each in middle) == whole.choices[0].message.content
    tokens = [token for each in middle for token in each.choices[0].logprobs.content]
    assert tokens == whole.choices[0].logprobs.content
    assert len(tokens) == 12
    assert (end.choices[0].finish_reason, usage.choices, usage.usage) == ("length", [], whole.usage)
    assert {chunk.id for chunk in chunks} == {opening.id}
    raw = await studio.gateway.http.post("/v1/chat/completions", json=GREEDY | {"model": TUNED, "stream": True})
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.text.endswith("data: [DONE]\n\n")


async def _takes_turns(studio: Studio) -> None:
    """A second client's whole reply comes while the first one's is still being made."""
    long = await studio.say(SHIPPED_MODEL, stream=True, **ENDLESS)
    await anext(aiter(long))
    assert (await studio.say(TUNED)).choices[0].finish_reason == "length"
    assert studio.asker.talking == 1
    await long.close()
    await until(lambda: studio.asker.talking == 0)


async def _stops_when_the_client_leaves(studio: Studio) -> None:
    waiting = asyncio.create_task(studio.say(SHIPPED_MODEL, **ENDLESS))
    await until(lambda: studio.asker.talking == 1)
    waiting.cancel()
    await until(lambda: studio.asker.talking == 0)


async def _says_what_does_not_fit(studio: Studio) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            await studio.say(TUNED, messages=[{"role": "user", "content": "a " * (CONTEXT + 10)}], stream=stream)
        assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")
    with pytest.raises(openai.BadRequestError) as refused:
        await studio.say(TUNED, tools=[{"type": "function", "function": {"name": "f"}}])
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "tools")


async def _survives_its_process(studio: Studio, whole: Any) -> None:
    stream = await studio.say(SHIPPED_MODEL, stream=True, **ENDLESS)
    await anext(aiter(stream))
    (answering,) = descendants("services.evaluator.answering")
    answering.kill()
    with pytest.raises(openai.APIError, match="ended unexpectedly"):
        _ = [chunk async for chunk in stream]
    assert (await studio.say(TUNED)).choices[0].message == whole.choices[0].message


async def _never_answers_for_a_missing_adapter(studio: Studio) -> None:
    await studio.gateway.platform.storage.delete(f"{studio.story.adapter}/{WEIGHTS}")
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as missing:
            await studio.say(TUNED, stream=stream)
        assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


async def test_a_model_that_is_not_the_callers_is_not_there(world: World, tmp_path: Path) -> None:
    async with listening(world, tmp_path) as gateway:
        story = Story(await gateway.submit())
        for fact in (story.dispatched(), story.finished(b"weights"), story.succeeded()):
            await gateway.world.tell(fact)
        await gateway.until(f"/v1/models/{TUNED}", lambda found: found.get("id") == TUNED)
        async with await gateway.stranger() as stranger:
            for client, model in ((stranger, TUNED), (gateway.http, "ft:none"), (gateway.http, "gpt-4o")):
                await _is_not_found(client, model)
        nobody = await gateway.http.post("/v1/chat/completions", json=GREEDY | {"model": SHIPPED_MODEL})
        assert (nobody.status_code, nobody.headers["retry-after"]) == (503, "1")
        misspelt = await gateway.http.post("/v1/chat/completions", json=GREEDY | {"model": SHIPPED_MODEL, "topp": 1})
        assert (misspelt.status_code, misspelt.json()["error"]["param"]) == (400, "topp")


async def _is_not_found(client: httpx.AsyncClient, model: str) -> None:
    answer = await client.post("/v1/chat/completions", json=GREEDY | {"model": model})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")
