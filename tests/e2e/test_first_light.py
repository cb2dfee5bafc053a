"""The whole house, as a person meets it: real processes, the HTTP API, and one training that is killed half-way."""

import asyncio
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from deploy.installation import processes
from deploy.invariants import check
from deploy.invariants.__main__ import of_home, table
from deploy.provision import ROOT
from deploy.up import Running, platform_up
from libs.embedded.home import Home
from libs.errors import Rejected
from libs.testing.family import trainings
from services.cli.access import Access
from services.cli.client import Api, Json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.asyncio(loop_scope="module")]

SAMPLE = ROOT / "libs" / "samples" / "conversations.jsonl"
CONVERSATIONS = 30


def first_exchanges(count: int) -> Iterator[bytes]:
    """Cut sample conversations after their first reply: short ones make short steps."""
    for line in SAMPLE.read_bytes().splitlines()[:count]:
        messages = msgspec.json.decode(line)["messages"]
        replied = next(number for number, each in enumerate(messages) if each["role"] == "assistant")
        yield msgspec.json.encode({"messages": messages[: replied + 1]}) + b"\n"


async def until(look: Callable[[], Awaitable[Any]], what: str, seconds: float = 120.0) -> Any:
    """Look again and again until there is something to see."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):
                await asyncio.sleep(0.1)
            return found
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {seconds:g} s") from None


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter even when the tests run as root; pytest's own may be closed to it."""
    made = Path(tempfile.mkdtemp(prefix="woodshed-e2e-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(folder: Path) -> AsyncIterator[Running]:
    """Everything, started as `make up` does."""
    async with platform_up(Home(folder / "main"), port=0) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(platform: Running) -> AsyncIterator[Api]:
    """The API with the owner's key."""
    async with Api(Access(platform.url, platform.key)) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def accepted(platform: Running, api: Api, folder: Path) -> Json:
    """A job that was submitted while the scheduler stood still, as the API answered it."""
    sample = folder / "few.jsonl"
    sample.write_bytes(b"".join(first_exchanges(CONVERSATIONS)))
    scheduler = platform.supervisor.running["scheduler"].pid
    os.kill(scheduler, signal.SIGSTOP)
    try:
        uploaded = await api.upload(sample, lambda _: None)
        wish = {"model": "SmolLM2-135M-Instruct", "training_file": uploaded["id"], "preset": "quick", "suffix": "few"}
        return await api.post("/v1/fine_tuning/jobs", wish | {"hyperparameters": {"n_epochs": 1, "batch_size": 2}})
    finally:
        os.kill(scheduler, signal.SIGCONT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def killed(platform: Running, api: Api, accepted: Json) -> Json:
    """The job after its training process was killed behind its first checkpoint; its newest checkpoint's step."""
    path = f"/v1/fine_tuning/jobs/{accepted['id']}/checkpoints"
    first = await until(lambda: _data(api, path), "a checkpoint", 300)
    (child,) = trainings(platform.supervisor.running["runner"].pid)
    child.kill()
    return first[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def finished(api: Api, accepted: Json, killed: Json) -> Json:
    """The job at its end, proof included."""

    async def over() -> Json | None:
        job = await api.get(f"/v1/fine_tuning/jobs/{accepted['id']}")
        proven = job["status"] == "succeeded" and job["woodshed"]["stage"] == "done"
        return job if proven or job["status"] in ("failed", "cancelled") else None

    found: Json = await until(over, "the end of the job", 900)
    return found


async def test_a_job_is_accepted_while_the_scheduler_is_down(accepted: Json) -> None:
    assert accepted["status"] == "validating_files"
    assert accepted["object"] == "fine_tuning.job"


async def test_a_killed_training_resumes_by_itself_and_succeeds(api: Api, finished: Json, killed: Json) -> None:
    assert finished["status"] == "succeeded", finished["error"]
    assert finished["woodshed"]["interruptions"] == 1
    assert finished["fine_tuned_model"].startswith("ft:SmolLM2-135M-Instruct:studio:few:")
    story = [each["message"] for each in await _story(api, finished)]
    lost = next(number for number, line in enumerate(story) if line.startswith("Interrupted"))
    again = next(number for number, line in enumerate(story) if line.startswith("Training again from step"))
    assert 0 < lost < again < len(story) - 1
    assert int(story[again].split("step ")[1].split(",")[0]) >= killed["step_number"]


async def test_the_stream_tells_every_fact_of_the_job_once_and_in_order(api: Api, finished: Json) -> None:
    told: list[tuple[int, str]] = []
    async with asyncio.timeout(30):
        async for event in api.live(f"/v1/fine_tuning/jobs/{finished['id']}/stream", lambda _: None):
            if event.id:
                told.append((int(event.id), event.type))
            if event.type == "evaluation.report_ready.v1":
                break
    sequences, kinds = [each[0] for each in told], [each[1] for each in told]
    assert sequences == sorted(set(sequences))
    story = ["job.submitted.v1", "job.queued.v1", "job.dispatched.v1", "run.started.v1", "run.checkpoint_committed.v1",
             "run.interrupted.v1", "run.recovered.v1", "run.finished.v1", "evaluation.report_ready.v1"]  # fmt: skip
    firsts = [kinds.index(each) for each in story]
    assert firsts == sorted(firsts)
    assert kinds.count("job.succeeded.v1") == 1


async def test_the_adapter_can_be_downloaded_and_is_what_was_stored(api: Api, finished: Json, folder: Path) -> None:
    artifacts = await _data(api, f"/v1/fine_tuning/jobs/{finished['id']}/artifacts")
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "metrics.csv"} <= {
        each["name"] for each in artifacts
    }
    for each in artifacts:
        target = folder / each["name"]
        await api.download(each["url"], target, each["sha256"], lambda _: None)
        assert hashlib.sha256(target.read_bytes()).hexdigest() == each["sha256"]


async def test_the_proof_is_there_as_pdf_html_and_figures(api: Api, finished: Json, folder: Path) -> None:
    path = f"/v1/fine_tuning/jobs/{finished['id']}/report"
    for kind, begins in (("pdf", b"%PDF-"), ("html", b"<!")):
        await api.fetch(f"{path}.{kind}", folder / f"report.{kind}")
        assert (folder / f"report.{kind}").read_bytes().startswith(begins)
    report = await api.get(path)
    assert {each["suite"] for each in report["scores"]} >= {"perplexity", "retention"}
    assert report["headline"]


async def test_the_notice_is_sent_and_recorded(api: Api, finished: Json) -> None:
    async def sent() -> bool:
        return any(each["message"].startswith("Notice sent by") for each in await _story(api, finished))

    assert await until(sent, "a notice", 60)


async def test_both_models_answer_the_same_question(api: Api, finished: Json) -> None:
    body = {"prompt": "How do I begin to save?", "max_tokens": 12}
    answer = await api.post(f"/v1/fine_tuning/jobs/{finished['id']}/ask", body)
    assert answer["base"].strip()
    assert answer["tuned"].strip()


async def test_everything_that_must_be_true_is_true(platform: Running, finished: Json) -> None:
    findings = await check(of_home(platform.home))
    assert all(finding.held for finding in findings), table(findings)


async def test_a_second_start_on_the_same_folder_says_that_one_runs(platform: Running) -> None:
    with pytest.raises(Rejected, match="make down"):
        async with platform_up(platform.home, port=0):
            pass


async def test_what_was_stopped_leaves_no_process_and_starts_again_as_it_was(folder: Path) -> None:
    home = Home(folder / "again")
    async with platform_up(home, port=0) as first:
        started = processes(home)
        assert len(started) >= len(first.supervisor.running)
        assert first.new_key
    assert processes(home) == []
    assert not any(each.is_running() for each in started)
    async with platform_up(home, port=0) as second:
        assert (second.key, second.new_key, second.url) == (first.key, False, first.url)
        async with Api(Access(second.url, second.key)) as api:
            assert await _data(api, "/v1/files") == []


async def _data(api: Api, path: str) -> list[Json]:
    found: list[Json] = (await api.get(path))["data"]
    return found


async def _story(api: Api, job: Json) -> list[Json]:
    """Return the job's story, the first line first."""
    found = await api.get(f"/v1/fine_tuning/jobs/{job['id']}/events", limit=1000)
    return list(reversed(found["data"]))
