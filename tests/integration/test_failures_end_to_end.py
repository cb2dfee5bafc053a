"""A failure on its whole way: from a runner's last words to the sentence, the fix, the notice and the retry that works.

Gateway, scheduler, control and notifier are real; the runner only says what a real one would have said.
"""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import nats
import pytest
from rich.console import Console

from contracts.runs import RunInterrupted, RunRemarked
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS
from services.cli import retries, show
from services.cli.access import Access
from services.cli.client import Api
from services.cli.session import Session
from services.notifier import app as notifier
from services.notifier.settings import Settings as NotifierSettings
from services.scheduler import app as scheduler
from services.scheduler.settings import Settings as SchedulerSettings
from services.trainer import app as trainer
from services.trainer.line import (
    HELLO,
    REPORT,
    Answered,
    Broken,
    DeviceFound,
    Done,
    Hello,
    Launch,
    Reached,
    Remark,
    Report,
    encode,
    order_subject,
)
from services.trainer.settings import TrainerSettings
from tests.integration.gateway.conftest import LINES, Gateway, Story, listening

JOBS = "/v1/fine_tuning/jobs"
TRACE = 'Traceback (most recent call last):\n  File "/app/training/attempt.py", line 50, in run\n'
ALL_USED_UP = """UPDATE trainer.run SET losses = '{"infrastructure": 10, "out_of_memory": 2, "lost_worker": 5}'"""


class Case(NamedTuple):
    """What a child or its remains say, and what people must get to see."""

    broken: Broken
    code: str
    kind: str
    settings: dict[str, Any] | None
    says: str


def broken(kind: str, words: str = "", message: str = "", **more: Any) -> Broken:
    return Broken(**({"kind": kind, "message": message, "exit_code": 1, "stderr": words, "step": 3} | more))


CASES = {
    "diverged": Case(
        broken("diverged", f"{TRACE}Diverged: nan", "The loss became nan at step 12: the weights are lost."),
        "diverged", "change_settings", {"learning_rate": 1e-4}, "nan at step 12",
    ),
    "gradient norm 0": Case(
        broken("no_learning", f"{TRACE}NotLearning: 0", "No gradient reaches the adapter at step 3."),
        "no_learning", "report_bug", None, "No gradient reaches the adapter",
    ),
    "all labels masked": Case(
        broken("nothing_to_learn", message="None of the 10 conversations holds an assistant's reply."),
        "bad_data", "change_data", None, "None of the 10 conversations",
    ),
    "model missing": Case(
        broken("unknown_model", message="SmolLM2-135M-Instruct does not lie on this machine."),
        "model_missing", "operator", None, "does not lie on this machine",
    ),
    "driver too old": Case(
        broken("bug", f"{TRACE}RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "?"),
        "no_device", "operator", None, "cannot use",
    ),
    "disk full": Case(
        broken("bug", f"{TRACE}RuntimeError: [enforce fail at inline_container.cc:445] . PytorchStreamWriter failed"),
        "disk_full", "operator", None, "last checkpoint is whole",
    ),
    "killed for memory": Case(
        broken("", "Loading weights", exit_code=-9, killed_for_memory=True),
        "out_of_memory", "change_settings", {"max_length": 512, "rank": 8}, "its kernel ended the training process",
    ),
    "never came to an end": Case(
        broken("time_limit", exit_code=-9),
        "time_limit", "change_settings", {"time_limit": 14_400.0}, "time limit passed",
    ),
    "nobody knows": Case(
        broken("bug", f"{TRACE}ZeroDivisionError: division by zero"),
        "unknown", "try_again", None, "nobody foresaw",
    ),
}  # fmt: skip


class Runner:
    """Dials in with one device, takes what it is ordered, and reports what a test wants."""

    def __init__(self, client: Any) -> None:
        self.nc = client
        self.orders: asyncio.Queue[Launch] = asyncio.Queue()

    async def dial(self) -> None:
        await self.nc.subscribe(order_subject("bench", "launch"), cb=self._launch)
        device = DeviceFound(
            device_id="bench-cpu", kind="stand-in", precision="float32", threads=1, memory_bytes=64 * 10**9,
            flops=1e12, torch_device="cpu",
        )  # fmt: skip
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.nc.request(HELLO, encode(Hello(runner="bench", devices=(device,))), timeout=30)
                    return
                except nats.errors.NoRespondersError:
                    await asyncio.sleep(0.02)

    async def _launch(self, message: Any) -> None:
        self.orders.put_nowait(msgspec.json.decode(message.data, type=Launch))
        await message.respond(encode(Answered()))

    async def ordered(self) -> Launch:
        async with asyncio.timeout(60):
            return await self.orders.get()

    async def reports(self, launch: Launch, *said: Any) -> None:
        for what in said:
            report = Report(runner="bench", run_id=launch.run_id, fence=launch.fence, what=what)
            reply = await self.nc.request(REPORT, encode(report), timeout=30)
            assert msgspec.json.decode(reply.data, type=Answered).accepted


class House(NamedTuple):
    """Everybody, and the runner in the test's hands."""

    gateway: Gateway
    runner: Runner
    trainer_db: Any


@pytest.fixture
async def house(world: World, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        for module, kind, changes in (
            (scheduler, SchedulerSettings, {}),
            (trainer, TrainerSettings, {"lease_seconds": 3600.0}),
            (notifier, NotifierSettings, {}),
        ):
            platform = await world.platform(kind.service)
            settings = world.settings(kind, **changes)
            await stack.enter_async_context(world.service(await module.build(settings, platform), platform))
            if module is trainer:
                trainer_db = platform.db
        client = await nats.connect(
            world.servers.nats_url, user="runner", password=PASSWORDS["runner"], inbox_prefix="_INBOX.runner"
        )
        stack.push_async_callback(client.close)
        gateway = await stack.enter_async_context(listening(world, tmp_path))
        runner = Runner(client)
        await runner.dial()
        yield House(gateway, runner, trainer_db)


async def running(house: House, **wish: Any) -> tuple[str, Launch]:
    """Submit a job and let it reach the runner."""
    job = await house.gateway.submit(**wish)
    await house.gateway.world.tell(Story(job).dataset_ready())
    launch = await house.runner.ordered()
    assert launch.job_id == job["id"]
    await house.runner.reports(launch, Reached(stage="training"))
    return job["id"], launch


async def ended(house: House, job: str, status: str = "failed") -> dict[str, Any]:
    found: dict[str, Any] = await house.gateway.until(f"{JOBS}/{job}", lambda job: job["status"] == status)
    return found


async def story(house: House, job: str) -> list[str]:
    found = await house.gateway.http.get(f"{JOBS}/{job}/events", params={"limit": 100})
    return [each["message"] for each in reversed(found.json()["data"])]


async def notified(house: House, job: str, notices: int) -> None:
    """Wait until the job's story says that so many notices were sent."""
    await house.gateway.until(
        f"{JOBS}/{job}/events?limit=100",
        lambda events: sum(each["message"].startswith("Notice sent") for each in events["data"]) == notices,
    )


def printed(job: dict[str, Any]) -> str:
    out = io.StringIO()
    Console(file=out, width=400, highlight=False).print(show.job(job))
    return out.getvalue()


async def test_each_failure_is_told_with_its_fix_to_programs_people_and_engineers(house: House) -> None:
    for name, case in CASES.items():
        job_id, launch = await running(house)
        async with house.trainer_db.across_tenants() as tx:
            await tx.execute(ALL_USED_UP)
        await house.runner.reports(launch, case.broken)
        job = await ended(house, job_id)
        fix = job["woodshed"]["fix"]
        assert (job["error"]["code"], fix["kind"], fix["settings"]) == (case.code, case.kind, case.settings), name
        assert case.says in job["error"]["message"], name
        assert fix["sentence"] in job["error"]["message"], name
        assert (await story(house, job_id))[-1].startswith(("Failed: ", "Notice sent")), name
        log = (await house.gateway.http.get(f"{JOBS}/{job_id}/log")).text
        assert ("killed by SIGKILL" if case.broken.exit_code == -9 else "exit code 1") in log, name
        assert all(line in log for line in case.broken.stderr.splitlines()), name
        assert f"woodshed retry {job_id}" in printed(job), name
        await notified(house, job_id, 1)


async def test_a_retry_with_the_fix_is_what_the_runner_gets_and_ends_well(house: House) -> None:
    job_id, launch = await running(house, hyperparameters={"n_epochs": 2})
    await house.runner.reports(launch, CASES["diverged"].broken)
    await ended(house, job_id)
    again = (await house.gateway.http.post(f"{JOBS}/{job_id}/retry")).json()
    second = await house.runner.ordered()
    assert second.recipe == msgspec.structs.replace(launch.recipe, learning_rate=launch.recipe.learning_rate / 2)
    await house.runner.reports(second, Reached(stage="training"), done(second))
    job = await ended(house, again["id"], "succeeded")
    assert (job["woodshed"]["retry_of"], job["error"]) == (job_id, None)


async def test_the_command_line_shows_the_difference_retries_and_prints_the_log(house: House) -> None:
    job_id, launch = await running(house)
    await house.runner.reports(launch, CASES["diverged"].broken)
    await ended(house, job_id)
    out = io.StringIO()
    async with Api(Access(house.gateway.url, house.gateway.key)) as api:
        here = Session(api, Console(file=out, width=160, highlight=False))
        watching = asyncio.create_task(retries.retry(job_id, rank=8, yes=True, here=here))
        second = await house.runner.ordered()
        await retries.log(job_id, here=here)
        watching.cancel()
    assert (second.recipe.rank, second.recipe.learning_rate) == (8, launch.recipe.learning_rate / 2)
    shown = [line.split()[:4] for line in out.getvalue().splitlines()]
    assert ["learning", "rate", "0.0002", "0.0001"] in shown
    assert ["rank", "16", "8", "You"] in shown
    assert "    | Diverged: nan" in out.getvalue()


async def test_masked_labels_are_retried_with_another_file_only(house: House) -> None:
    job_id, launch = await running(house)
    await house.runner.reports(launch, CASES["all labels masked"].broken)
    await ended(house, job_id)
    assert (await house.gateway.http.post(f"{JOBS}/{job_id}/retry")).json()["code"] == "data_must_change"
    mended = await house.gateway.upload(LINES * 2, "mended.jsonl")
    again = await house.gateway.http.post(f"{JOBS}/{job_id}/retry", json={"training_file": mended["id"]})
    assert again.json()["training_file"] == mended["id"]


async def test_a_kernel_that_ends_a_process_for_memory_halves_the_forward_pass(house: House) -> None:
    job_id, launch = await running(house)
    await house.runner.reports(launch, CASES["killed for memory"].broken)
    second = await house.runner.ordered()
    assert (second.run_id, second.micro_tokens) == (launch.run_id, 384)
    [interrupted] = await house.gateway.world.told(RunInterrupted)
    assert interrupted.cause == "out_of_memory"
    assert "killed for memory" in interrupted.evidence
    await house.gateway.until(
        f"{JOBS}/{job_id}/events?limit=100",
        lambda events: any("half as many tokens at once" in each["message"] for each in events["data"]),
    )


async def test_time_that_is_up_leaves_a_model_and_says_so_once(house: House) -> None:
    job_id, launch = await running(house, time_limit=600.0)
    assert 700.0 < launch.seconds_left < 750.0
    late = Remark(step=20, code="time_limit", level="warn", message="Training ended at step 20 of 48.")
    smaller = Remark(step=16, code="evaluation_smaller", level="info", message="It is read in smaller pieces.")
    await house.runner.reports(launch, smaller, late, late, done(launch))
    job = await ended(house, job_id, "succeeded")
    assert job["fine_tuned_model"]
    told = await story(house, job_id)
    assert told.count("Training ended at step 20 of 48.") == 1
    assert told.count("It is read in smaller pieces.") == 1
    await notified(house, job_id, 2)
    assert len(await house.gateway.world.all_told(RunRemarked)) == 2


BUDGET = 0.01
"""Ten minutes of a device at the default rate."""
SPEND = "UPDATE trainer.lease SET granted_at = granted_at - interval '500 s' WHERE fence = $1"


async def test_a_budget_bounds_the_run_and_tells_each_threshold_once(house: House) -> None:
    job_id, launch = await running(house, budget=BUDGET)
    assert (launch.limit, 500.0 < launch.seconds_left <= 570.0) == ("budget", True)
    assert (await house.gateway.job(job_id))["woodshed"]["budget"] == BUDGET
    async with house.trainer_db.across_tenants() as tx:
        await tx.execute(SPEND, launch.fence)
    await house.runner.reports(launch, done(launch))
    await ended(house, job_id, "succeeded")
    told = [fact.code for fact in await house.gateway.world.all_told(RunRemarked)]
    assert told == ["budget_50", "budget_80"]
    assert sum("of 0.01 are spent" in line for line in await story(house, job_id)) == 2
    await notified(house, job_id, 3)


def done(launch: Launch) -> Done:
    return Done(
        adapter_uri=f"{launch.tenant}/runs/{launch.run_id}/fence-{launch.fence}/adapter", sha256="a" * 64, size=1,
        steps=20, tokens=900, trained_tokens=300, train_loss=1.0, eval_loss=None, train_seconds=5.0, memory_bytes=10**9,
    )  # fmt: skip
