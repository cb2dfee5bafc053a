"""A child that waits becomes its attempt's own, or makes way for one that is started cold."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from contracts.recipes import Recipe
from services.trainer.line import Halted, What
from services.trainer.runner import warm as module
from services.trainer.runner.attempt import Attempt
from services.trainer.runner.child import Child
from services.trainer.runner.launching import alone, command, could_wait
from services.trainer.runner.warm import Warm
from services.trainer.training.protocol import AttemptSpec

CHILD = """#!{python}
import os, sys
where = r"{folder}"
if sys.argv[-1].endswith(".warm"):
    print("born ahead", file=sys.stderr, flush=True)
    print('{{"type":"waiting","memory_bytes":1}}', flush=True)
    spec = sys.stdin.read()
    if not spec:
        sys.exit(0)
    begun = "ahead"
else:
    spec, begun = sys.argv[-1], "cold"
open(where + "/told", "w").write(f"{{begun}} {{os.getpid()}} {{spec}}")
print('{{"type":"stopped","step":3,"path":null}}', flush=True)
"""
SPEC = AttemptSpec(
    run_id="run-1", attempt=1, fence=1, recipe=Recipe(base_model="none"), model_dir="", train="", work_dir=""
)
ALONE: Any = type("Device", (), {"processes": 1, "torch_device": "cpu"})
GANG: Any = type("Device", (), {"processes": 2, "torch_device": "cpu", "threads": 1})
GPU: Any = type("Device", (), {"processes": 1, "torch_device": "cuda:0"})


class Reporter:
    def __init__(self) -> None:
        self.told: list[What] = []

    async def tell(self, what: What) -> None:
        self.told.append(what)


@pytest.fixture(autouse=True)
def plays_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that imports nothing, in the place of Python."""
    child = tmp_path / "child"
    child.write_text(CHILD.format(python=sys.executable, folder=tmp_path))
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))


@pytest.fixture
async def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Warm]:
    monkeypatch.setattr(module, "free_bytes", lambda device: 4_000_000_000)
    warm = Warm(tmp_path / "warm", "bench", free_gb=4.0)
    yield warm
    await warm.end()


async def waits(warm: Warm) -> psutil.Process:
    """Start one, wait until it waits and return its process."""
    await warm.start()
    assert warm._watching
    assert warm._waiting
    assert warm._waiting._process
    async with asyncio.timeout(60):
        await warm._watching
    return psutil.Process(warm._waiting._process.pid)


async def carry_out(tmp_path: Path, warm: Warm) -> tuple[list[What], str]:
    """Carry an attempt out; return what it reported and how its child was begun."""
    reporter: Any = Reporter()
    launch: Any = type("Launch", (), {"tenant": "acme", "run_id": "run-1", "fence": 1})
    nothing: Any = None
    folder = tmp_path / "run"
    folder.mkdir()
    attempt = Attempt(launch, ALONE, nothing, reporter, models=tmp_path, folder=folder, warm=warm)
    async with asyncio.timeout(60):
        await attempt._run(SPEC)
    return reporter.told, (tmp_path / "told").read_text()


async def test_an_attempt_goes_on_in_the_child_that_waits(tmp_path: Path, warm: Warm) -> None:
    process = await waits(warm)
    told, begun = await carry_out(tmp_path, warm)
    assert begun == f"ahead {process.pid} {tmp_path / 'run' / 'spec.json'}"
    assert told == [Halted(step=3, exit_code=0, stderr="born ahead\n")]
    assert not psutil.pid_exists(process.pid)
    assert await warm.take(usable=True) is None, "there was one, and it is used"


async def test_a_child_that_still_imports_is_taken_as_well(tmp_path: Path, warm: Warm) -> None:
    await warm.start()
    told, begun = await carry_out(tmp_path, warm)
    assert begun.startswith("ahead ")
    assert [type(each) for each in told] == [Halted]


async def test_without_a_living_child_that_waits_an_attempt_starts_cold(tmp_path: Path, warm: Warm) -> None:
    process = await waits(warm)
    process.send_signal(signal.SIGKILL)
    assert warm._waiting
    async with asyncio.timeout(60):
        while warm._waiting.lives:
            await asyncio.sleep(0.01)
    told, begun = await carry_out(tmp_path, warm)
    assert begun.startswith("cold ")
    assert [type(each) for each in told] == [Halted]


async def test_what_cannot_be_the_one_that_waits_ends_it(warm: Warm) -> None:
    process = await waits(warm)
    assert await warm.take(usable=False) is None
    assert not psutil.pid_exists(process.pid), "it takes no memory from who trains"


def test_only_a_child_that_trains_alone_on_a_cpu_could_have_waited() -> None:
    spec = Path("spec.json")
    assert could_wait(command(spec, ALONE), ALONE)
    assert not could_wait(command(spec, ALONE), ALONE, "nf4"), "its imports hide bitsandbytes"
    assert not could_wait(command(spec, GANG), GANG)
    assert not could_wait(command(spec, GPU), GPU), "it must not see other GPUs, and imports look"
    assert not could_wait([sys.executable, "stand_in.py", str(spec)], ALONE)


async def test_one_waits_at_most_and_none_after_the_end(warm: Warm) -> None:
    process = await waits(warm)
    assert await waits(warm) == process
    await warm.end()
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("free_gb", [0.0, 4.1])
async def test_none_waits_where_none_is_wanted_or_memory_is_short(warm: Warm, free_gb: float) -> None:
    warm.free_gb = free_gb
    await warm.start()
    assert warm._waiting is None


async def test_a_child_that_ends_by_itself_is_as_good_as_none(tmp_path: Path, warm: Warm) -> None:
    """As a broken installation does, whose imports fail."""
    (tmp_path / "child").write_text("#!/bin/sh\nexit 1\n")
    process = Child("mark", tmp_path / "log")
    await process.start_ahead(alone())
    assert await process.first_word() is None
    async with asyncio.timeout(60):
        while process.lives:
            await asyncio.sleep(0.01)
    await process.end()
    assert process.exit_code == 1
