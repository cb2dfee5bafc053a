"""A child and everything it leaves behind end together, before its end is reported."""

import asyncio
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from contracts.recipes import Recipe
from services.trainer.line import Broken, Halted, Launch, Reached, SavedBefore, What
from services.trainer.runner.attempt import Attempt
from services.trainer.runner.family import PR_SET_CHILD_SUBREAPER, adopted
from services.trainer.training.protocol import AttemptSpec

CHILD = """#!{python}
import os, signal, subprocess, sys, time
{prepares}
{starts}
print(pid, file=open(r"{folder}/family", "w"), flush=True)
{does}
"""
STARTS = 'pid = subprocess.Popen(["sleep", "1000"]).pid'
ESCAPES = 'pid = subprocess.Popen(["sleep", "1000"], start_new_session=True).pid'
IS_ORPHANED = """
escaping = "import subprocess; print(subprocess.Popen(['sleep', '1000'], start_new_session=True, stdout=2).pid)"
pid = int(subprocess.run(["{python}", "-c", escaping], stdout=subprocess.PIPE).stdout)
"""
STOPPED = '{"type":"stopped","step":3,"path":null}'
STOPS = (f"signal.signal(signal.SIGTERM, lambda *_: (print('{STOPPED}', flush=True), sys.exit(0)))", "signal.pause()")
IS_DEAF = ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "while True: signal.pause()")
DIES = ("", "os._exit(7)")
SPEC = AttemptSpec(
    run_id="run-1", attempt=1, fence=1, recipe=Recipe(base_model="none"), model_dir="", train="", work_dir=""
)


class Reporter:
    """Keeps what is told, and whether the child's family lived then."""

    def __init__(self, folder: Path) -> None:
        self.family = folder / "family"
        self.told: list[What] = []
        self.lived: list[bool] = []

    async def tell(self, what: What) -> None:
        self.told.append(what)
        self.lived.append(alive(int(self.family.read_text())))

    async def born(self) -> None:
        async with asyncio.timeout(60):
            while not (self.family.exists() and self.family.read_text().endswith("\n")):
                await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(autouse=True)
def adopting() -> Iterator[None]:
    """Let this process be the parent of orphans, as a runner is."""
    adopted.adopt()
    yield
    adopted.adopts = False
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0)


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Attempt:
    prepares, does, starts = (*request.param, STARTS)[:3]
    starts = starts.replace("{python}", sys.executable)
    child = tmp_path / "child"
    child.write_text(CHILD.format(python=sys.executable, folder=tmp_path, prepares=prepares, does=does, starts=starts))
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    launch: Any = type("Launch", (), {"tenant": "acme", "run_id": "run-1", "fence": 1})
    reporter: Any = Reporter(tmp_path)
    nothing: Any = None
    device: Any = type("Device", (), {"processes": 1})
    return Attempt(launch, device, nothing, reporter, models=tmp_path, folder=tmp_path)


async def carry_out(attempt: Attempt, *, grace: float | None) -> Any:
    reporter: Any = attempt.reporter
    running = asyncio.create_task(attempt._run(SPEC))
    await reporter.born()
    if grace is not None:
        attempt.ask_to_stop(grace)
    async with asyncio.timeout(60):
        await running
    return reporter


@pytest.mark.parametrize("attempt", [STOPS], ids=[""], indirect=True)
async def test_a_child_that_stops_as_asked_leaves_no_process(attempt: Attempt) -> None:
    reporter = await carry_out(attempt, grace=30.0)
    assert [type(each) for each in reporter.told] == [Halted]
    assert reporter.lived == [False], "the device is free when its end is told"


@pytest.mark.parametrize("attempt", [DIES], ids=[""], indirect=True)
async def test_what_a_dead_child_leaves_holds_nothing_open(attempt: Attempt) -> None:
    reporter = await carry_out(attempt, grace=None)
    assert [(type(each), each.exit_code) for each in reporter.told] == [(Broken, 7)]
    assert reporter.lived == [False]


@pytest.mark.parametrize("attempt", [IS_DEAF], ids=[""], indirect=True)
async def test_a_child_that_does_not_stop_is_killed_with_its_family_after_its_grace(attempt: Attempt) -> None:
    reporter = await carry_out(attempt, grace=0.2)
    assert [(type(each), each.exit_code) for each in reporter.told] == [(Broken, -9)]
    assert reporter.lived == [False]


@pytest.mark.parametrize(
    ("attempt", "grace"),
    [((*DIES, ESCAPES), None), ((*IS_DEAF, ESCAPES), 0.2), ((*STOPS, IS_ORPHANED), 30.0)],
    ids=["the child died", "it was killed", "its parent had died long before"],
    indirect=["attempt"],
)
async def test_who_leaves_the_group_and_the_tree_ends_with_the_child_too(attempt: Attempt, grace: float | None) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    reporter = await carry_out(attempt, grace=grace)
    assert reporter.lived == [False]
    assert alive(stranger.pid), "nobody else's process is touched"
    stranger.kill()
    await stranger.wait()
    assert not psutil.pid_exists(int(reporter.family.read_text())), "the dead are buried"


class SlowStorage:
    """Never gives anything."""

    async def fetch(self, *_: Any) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("stop", ["ask_to_stop", "leave"])
async def test_an_attempt_that_still_fetches_what_it_needs_stops_at_once(tmp_path: Path, stop: str) -> None:
    told: list[What] = []
    fetching = asyncio.Event()

    class Quiet:
        async def tell(self, what: What) -> None:
            told.append(what)
            fetching.set()

    nothing: Any = None
    storage: Any = SlowStorage()
    reporter: Any = Quiet()
    launch = Launch(
        tenant="acme", run_id="run-1", job_id="job-1", attempt=1, fence=1, device_id="host-cpu",
        recipe=Recipe(base_model="none"), dataset_uri="", dataset_digest="", checkpoint_every=1, micro_tokens=0,
        checkpoints=(SavedBefore(step=30, uri="acme/runs/run-1/fence-0/step-30", sha256=""),),
    )  # fmt: skip
    attempt = Attempt(launch, nothing, storage, reporter, models=tmp_path, folder=tmp_path / "run")
    running = asyncio.create_task(attempt.carry_out())
    await fetching.wait()
    getattr(attempt, stop)(3600.0)
    async with asyncio.timeout(60):
        await running
    assert [type(each) for each in told] == [Reached, Halted]
