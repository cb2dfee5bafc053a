"""Two controls over the same leases, each killed again and again: nothing is given twice, nothing told twice."""

import asyncio
import contextlib
import random
from collections import Counter

import psutil

from contracts.jobs import JobCancelled, JobDispatched
from contracts.runs import (
    DeviceOffered,
    DispatchDeclined,
    LeaseGranted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunStarted,
)
from libs.db.database import now
from tests.integration.trainer.house import House, until

JOBS = 10
KILLS = 4
LEASE = 9.0
OVERLAPS = """
    SELECT one.fence, other.fence AS other
      FROM trainer.lease AS one JOIN trainer.lease AS other
        ON one.fence < other.fence AND (one.device_id = other.device_id OR one.run_id = other.run_id)
     WHERE tstzrange(one.granted_at, one.ended_at) && tstzrange(other.granted_at, other.ended_at)
"""
LEFT = "SELECT count(*) AS open FROM trainer.lease WHERE ended_at IS NULL"


async def schedule(house: House, jobs: list[JobDispatched]) -> None:
    """Stand in for the scheduler: a job for each new offer. The first is held, so that there is somebody to kill."""
    taken: set[str] = set()
    while len(jobs) < JOBS:
        for offer in await house.world.all_told(DeviceOffered):
            if offer.offer_id not in taken and len(jobs) < JOBS:
                taken.add(offer.offer_id)
                jobs.append(await house.dispatch(offer, held=not jobs))
        await asyncio.sleep(0.1)


async def ends(house: House) -> list[str]:
    """The jobs that are over, or never began because their offer no longer stood."""
    kinds = (RunFinished, RunCancelled, RunFailed, DispatchDeclined)
    return [each.job_id for kind in kinds for each in await house.world.all_told(kind)]


async def all_ended(house: House) -> None:
    while len(await ends(house)) < JOBS:
        await asyncio.sleep(0.2)


def kill_a_child(chance: random.Random, run_id: str = "") -> bool:
    """Kill a child, of that run if it is said. ``False``: there is none."""
    found = [child for child in psutil.Process().children(recursive=True) if pretends(child, run_id)]
    if found:
        chance.choice(found).kill()
    return bool(found)


def pretends(process: psutil.Process, run_id: str) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        command = process.cmdline()
        return "stand_in" in " ".join(command[2:3]) and run_id in " ".join(command)
    return False


async def bite(house: House, chance: random.Random, jobs: list[JobDispatched]) -> None:
    """Kill the child of the first job, which is held and so cannot have ended."""

    async def bitten() -> bool:
        return bool(jobs) and kill_a_child(chance, jobs[0].run_id)

    await until(bitten, timeout=60)


async def test_whichever_control_dies_no_lease_is_double_and_no_fact_is_told_twice(house: House) -> None:
    chance = random.Random(3)
    controls = [await house.start_control(LEASE), await house.start_control(LEASE)]
    jobs: list[JobDispatched] = []
    async with house.runner("left", devices=2, patience=2.0), house.runner("right", patience=2.0):
        scheduling = asyncio.create_task(schedule(house, jobs))
        await bite(house, chance, jobs)
        for number in range(KILLS):
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            kill_a_child(chance)
            controls[number % 2].kill()
            await controls[number % 2].wait()
            controls[number % 2] = await house.start_control(LEASE)
            if jobs:
                await house.world.tell(JobCancelled(tenant="acme", at=now(), job_id=chance.choice(jobs).job_id))
        house.release(jobs[0].run_id)
        await asyncio.wait_for(scheduling, 120)
        await asyncio.wait_for(all_ended(house), 120)
    assert await house.rows(OVERLAPS) == []
    assert await house.rows(LEFT) == [{"open": 0}]
    grants = await house.world.all_told(LeaseGranted)
    assert len({grant.fence for grant in grants}) == len(grants)
    assert len({(grant.run_id, grant.attempt) for grant in grants}) == len(grants)
    assert Counter(await ends(house)) == Counter(job.job_id for job in jobs)
    starts = Counter(start.run_id for start in await house.world.all_told(RunStarted))
    assert set(starts.values()) == {1}
    lost = Counter(each.fence for each in await house.world.all_told(RunInterrupted))
    assert lost, "no attempt was ever lost: the test bit nothing"
    assert set(lost.values()) == {1}
