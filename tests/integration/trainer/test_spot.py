"""A job that waits, machines of the spot market that are started for it and taken away again, and a run that ends."""

import functools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from contracts.base import new_id
from contracts.jobs import Estimate, JobQueued
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import DeviceOffered, RunFinished, RunInterrupted, RunRecovered, RunStageReached
from libs.db.database import now
from libs.testing.servers import PASSWORDS
from services.trainer.providers import processes
from services.trainer.providers.spot import Spot
from tests.integration.trainer.house import BEAT, House, until

COMMAND = (sys.executable, "-m", "tests.integration.trainer.stand_in_runner")
NAME = f"m{os.getpid()}"
POOL = """
[{name}]
provider = "spot"
environment = "{environment}"
price = 0.02
patience_seconds = 0
look_seconds = 0.2
idle_seconds = 1
notice_seconds = 60
"""
MACHINES = "SELECT key, ended_at, ended_how FROM trainer.machine ORDER BY asked_at"


def pools(house: House, folder: Path) -> str:
    """Write a pool, and what its runners are told."""
    told = {
        "WOODSHED_NATS_URL": house.world.servers.nats_url,
        "WOODSHED_NATS_PASSWORD": PASSWORDS["runner"],
        "WOODSHED_STORAGE_URL": f"file://{house.world.servers.folder / 'storage'}",
        "WOODSHED_MODELS_DIR": house.models,
        "WOODSHED_BEAT_SECONDS": str(BEAT),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    (folder / "runner.env").write_text("".join(f"{name}={value}\n" for name, value in told.items()))
    (folder / "pools.toml").write_text(POOL.format(name=NAME, environment=folder / "runner.env"))
    return str(folder / "pools.toml")


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """End what a failed test left running: these runners outlive whoever started them."""
    yield
    for pid, key, _ in processes.runners():
        if f"-{NAME}-" in key:
            os.kill(pid, signal.SIGKILL)


class Market(Spot):
    """Takes machines away when the test wants it rather than when their time is up."""

    lent: ClassVar[list[tuple[Spot, str]]] = []

    def _doom(self, handle: str) -> None:
        if handle not in self._doomed:
            self._doomed.add(handle)
            self.lent.append((self, handle))

    @classmethod
    def takes_back(cls) -> None:
        """The machine that was lent last is taken away."""
        spot, handle = cls.lent[-1]
        spot._preempt(handle)


async def test_a_run_outlives_the_machines_that_are_taken_away_under_it(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.machines.Spot", functools.partial(Market, command=COMMAND))
    monkeypatch.setattr(Market, "lent", [])
    async with house.control(pools=pools(house, tmp_path)):
        queued = waits()
        await house.world.tell(queued)
        [offer] = await house.world.told(DeviceOffered)
        job = await house.dispatch(offer, held=True, job_id=queued.job_id, version=2)
        await house.world.told(RunStageReached, count=2)
        Market.takes_back()
        await house.world.told(RunRecovered)
        Market.takes_back()
        await house.world.told(RunRecovered, count=2)
        house.release(job.run_id)
        [finished] = await house.world.told(RunFinished)
        assert (finished.job_id, finished.steps, finished.interruptions) == (job.job_id, 12, 2)
        interrupted = await house.world.all_told(RunInterrupted)
        assert [(each.cause, each.lost_steps) for each in interrupted] == [("preempted", 0)] * 2
        await until(lambda: all_ended(house), timeout=60)
    machines = await house.rows(MACHINES)
    assert [row["ended_how"] for row in machines] == ["exited", "exited", "idle"]
    keys = {row["key"] for row in machines}
    assert not [pid for pid, key, _ in processes.runners() if key in keys]


async def all_ended(house: House) -> bool:
    return all(row["ended_at"] for row in await house.rows(MACHINES))


def waits() -> JobQueued:
    """A job for which there is no device yet."""
    estimate = Estimate(
        seconds=1, seconds_low=1, seconds_high=1, cost=0, currency="EUR", memory_bytes=1, steps=1, tokens=1
    )
    recipe = Recipe(base_model=SHIPPED_MODEL)
    return JobQueued(tenant="acme", at=now(), version=1, job_id=new_id("ftjob"), recipe=recipe, estimate=estimate)
