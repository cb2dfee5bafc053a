"""Runners as processes of this host, and the market that takes them away."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from libs.errors import Rejected
from services.trainer.providers import processes
from services.trainer.providers.local import Local
from services.trainer.providers.pools import LocalPool, SpotPool
from services.trainer.providers.provider import Found, Need, Spec
from services.trainer.providers.spot import Spot, lifetimes

SPEC = Spec(owner="0a1b2c3d", pool="here", kind="process")
RUNNER = """
import os, signal, subprocess, sys, time
child = subprocess.Popen(["sleep", "600"])
def leave(*_):
    if os.environ["MANNERS"] == "good":
        child.kill()
        sys.exit(0)
signal.signal(signal.SIGTERM, leave)
open(os.environ["WOODSHED_DATA_DIR"] + "/told", "w").write(repr(dict(os.environ)))
while True:
    time.sleep(0.02)
"""
COMMAND = (sys.executable, "-c", RUNNER)


@pytest.fixture
async def environment(tmp_path: Path) -> AsyncIterator[Callable[[str], str]]:
    """Write a runner's environment file; every runner of the test is gone afterwards."""

    def write(manners: str) -> str:
        (tmp_path / "runner.env").write_text(f"# told\nMANNERS={manners}\nWOODSHED_NATS_PASSWORD=of=the=runner\n")
        return str(tmp_path / "runner.env")

    yield write
    for pid, key, _ in processes.runners():
        if key.startswith(f"ws-test{os.getpid()}"):
            psutil.Process(pid).kill()


@pytest.fixture
def local(environment: Callable[[str], str], tmp_path: Path) -> Local:
    return Local(LocalPool(environment=environment("good")), tmp_path / "machines", 5.0, COMMAND)


def key(number: int = 1) -> str:
    return f"ws-test{os.getpid()}-{number}"


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.01)


async def seen(provider: Local | Spot, number: int, how: str) -> None:
    async with asyncio.timeout(60):
        while await provider.observe(key(number)) != how:
            await asyncio.sleep(0.01)


def is_up(local: Local, key: str) -> bool:
    told = local.folder / key / "told"
    return told.exists() and told.stat().st_size > 0


async def test_a_machine_is_launched_once_and_knows_nothing_of_the_control(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WOODSHED_DATABASE_URL", "postgresql://secret")
    assert await local.launch(SPEC, key()) == key()
    await until(lambda: is_up(local, key()))
    first = processes.runner_of(key())
    assert await local.launch(SPEC, key()) == key()
    assert [pid for pid, theirs, _ in processes.runners() if theirs == key()] == [first]
    told = (local.folder / key() / "told").read_text()
    assert "of=the=runner" in told
    assert "postgresql://secret" not in told
    assert f"'WOODSHED_RUNNER_NAME': '{key()}'" in told
    assert "'WOODSHED_NOTICE_SECONDS': '5.0'" in told


async def test_the_next_control_finds_what_the_last_one_started(local: Local) -> None:
    await local.launch(SPEC, key())
    await until(lambda: is_up(local, key()))
    next_one = Local(local.pool, local.folder, 5.0, COMMAND)
    assert await next_one.observe(key()) == "running"
    assert await next_one.launch(SPEC, key()) == key()
    assert await next_one.list("0a1b2c3d") == [Found(key=key(), handle=key())]
    assert await next_one.list("ffffffff") == []
    await next_one.stop(key(), 5)
    await until(lambda: processes.runner_of(key()) is None)
    assert await next_one.observe(key()) == "gone"


async def test_one_that_ended_by_itself_has_exited(local: Local) -> None:
    await local.launch(SPEC, key())
    await until(lambda: is_up(local, key()))
    pid = processes.runner_of(key())
    assert pid
    os.kill(pid, 9)
    await seen(local, 1, "exited")
    await local.stop(key(), 0)
    assert not (local.folder / key()).exists()
    assert await local.observe(key()) == "gone"


async def test_the_stubborn_are_killed_after_their_grace(environment: Callable[[str], str], tmp_path: Path) -> None:
    local = Local(LocalPool(environment=environment("bad")), tmp_path / "machines", 5.0, COMMAND)
    await local.launch(SPEC, key())
    await until(lambda: is_up(local, key()))
    await local.stop(key(), 0.3)
    assert await local.observe(key()) == "running"
    await until(lambda: processes.runner_of(key()) is None)


async def test_without_its_environment_file_nothing_is_started(tmp_path: Path) -> None:
    local = Local(LocalPool(environment=str(tmp_path / "missing")), tmp_path, 5.0, COMMAND)
    with pytest.raises(Rejected, match="missing"):
        await local.launch(SPEC, key())
    assert processes.runner_of(key()) is None


async def test_the_market_takes_as_many_machines_as_it_was_told_to(
    environment: Callable[[str], str], tmp_path: Path
) -> None:
    pool = SpotPool(environment=environment("good"), price=0.02, lifetime=(0.5, 0.6), preemptions=2, notice_seconds=5)
    spot = Spot(pool, tmp_path / "machines", COMMAND)
    [offer] = await spot.offers(Need())
    assert offer.price == 0.02
    for number in (1, 2, 3):
        await spot.launch(SPEC, key(number))
        await until(lambda number=number: is_up(spot.local, key(number)))
    await seen(spot, 1, "exited")
    await seen(spot, 2, "exited")
    assert await spot.observe(key(3)) == "running"


async def test_whoever_does_not_leave_within_the_notice_is_killed(
    environment: Callable[[str], str], tmp_path: Path
) -> None:
    pool = SpotPool(environment=environment("bad"), lifetime=(0.4, 0.4), preemptions=1, notice_seconds=0.3)
    spot = Spot(pool, tmp_path / "machines", COMMAND)
    await spot.launch(SPEC, key())
    await until(lambda: is_up(spot.local, key()))
    await seen(spot, 1, "exited")


def test_lifetimes_follow_from_the_seed() -> None:
    pool = SpotPool(environment="", seed=7, lifetime=(10, 20), preemptions=5)
    assert lifetimes(pool) == lifetimes(pool)
    assert len(set(lifetimes(pool))) == 5
    assert all(10 <= each <= 20 for each in lifetimes(pool))
    assert lifetimes(pool) != lifetimes(SpotPool(environment="", seed=8, lifetime=(10, 20), preemptions=5))
