"""Devices, runners and jobs, several at once; machines that leave, freeze and come back; controls that are killed."""

import asyncio
import signal

import msgspec
import nats.errors
import psutil
import pytest
from msgspec.structs import replace

from contracts.jobs import JobDispatched
from contracts.machines import ListMachines, Machines
from contracts.runs import (
    CheckpointCommitted,
    DeviceWithdrawn,
    DispatchDeclined,
    LeaseGranted,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunProgressed,
    RunRecovered,
    RunStarted,
    WriteFenced,
)
from libs.testing.family import descendants
from services.trainer import ordering
from services.trainer.line import BEAT, Beat, Held, encode
from tests.integration.trainer.house import SHORT_LEASE, House, until
from tests.integration.trainer.stand_in_runner import MEMORY

GB = 1_000_000_000
WAITS = "SELECT extract(epoch FROM not_before - now())::float AS wait, barren FROM trainer.run"
AT_ONCE = """
    SELECT count(*) AS pairs
      FROM trainer.lease AS one JOIN trainer.lease AS other ON one.fence < other.fence
     WHERE tstzrange(one.granted_at, one.ended_at) && tstzrange(other.granted_at, other.ended_at)
"""


async def trains(house: House, job: JobDispatched, step: int = 1) -> None:
    """Wait until a job has been seen at a step."""

    async def seen() -> bool:
        return any(
            each.job_id == job.job_id and each.step >= step for each in await house.world.all_told(RunProgressed)
        )

    await until(seen)


async def granted(house: House, number: int) -> None:
    await house.world.told(LeaseGranted, count=number)


async def test_two_runners_with_three_devices_train_three_jobs_at_once(house: House) -> None:
    async with house.control(), house.runner("left", devices=2), house.runner("right"):
        places = ("left-cpu0", "left-cpu1", "right-cpu0")
        jobs = [await house.dispatch(await house.offered(place), held=True) for place in places]
        for job in jobs:
            await trains(house, job)
        for job in jobs:
            house.release(job.run_id)
        finished = await house.world.told(RunFinished, count=3)
    assert {each.job_id for each in finished} == {job.job_id for job in jobs}
    [row] = await house.rows(AT_ONCE)
    assert row["pairs"] == 3
    assert not await house.world.all_told(RunInterrupted)


async def test_small_jobs_share_a_device_as_long_as_their_memory_fits(house: House) -> None:
    async with house.control(), house.runner("bench", shared=True):
        first = await house.dispatch(await house.offered("bench-cpu0", MEMORY), memory=3 * GB, held=True)
        second = await house.dispatch(await house.offered("bench-cpu0", 5 * GB), memory=3 * GB, held=True)
        too_large = await house.dispatch(await house.offered("bench-cpu0", 2 * GB), memory=3 * GB)
        [declined] = await house.world.told(DispatchDeclined)
        assert declined.job_id == too_large.job_id
        await trains(house, first)
        house.release(second.run_id)
        [finished] = await house.world.told(RunFinished)
        assert finished.job_id == second.job_id
        freed = await house.offered("bench-cpu0", 5 * GB)
        await house.dispatch(freed, memory=3 * GB, job_id=too_large.job_id)
        await granted(house, 3)
        house.release(first.run_id)
        await house.world.told(RunFinished, count=3)
    [row] = await house.rows(AT_ONCE)
    assert row["pairs"] == 2


async def test_whoever_asks_sees_every_machine_and_only_their_own_jobs_on_it(house: House) -> None:
    async with house.control(), house.runner("bench", shared=True):
        mine = await house.dispatch(await house.offered("bench-cpu0", MEMORY), memory=3 * GB, held=True)
        offer = await house.offered("bench-cpu0", 5 * GB)
        theirs = await house.dispatch(offer, memory=3 * GB, held=True, tenant="rival")
        await granted(house, 2)
        for tenant, jobs in (("acme", (mine.job_id,)), ("rival", (theirs.job_id,)), ("third", ())):
            [seen] = (await asked(house, tenant)).devices
            assert (seen.device_id, seen.runner, seen.online, seen.shared) == ("bench-cpu0", "bench", True, True)
            assert (seen.jobs, seen.others) == (jobs, 2 - len(jobs))
            assert (seen.free_bytes, seen.memory_bytes) == (MEMORY - 6 * GB, MEMORY)
        [heard] = await until(lambda: _heard(house))
        assert heard < 60
        for job in (mine, theirs):
            house.release(job.run_id)
        await house.world.told(RunFinished, count=2)


async def asked(house: House, tenant: str) -> Machines:
    question = ListMachines(tenant=tenant)
    reply = await house.world.nc.request(question.subject, encode(question), timeout=20)
    return msgspec.json.decode(reply.data, type=Machines)


async def _heard(house: House) -> list[float]:
    return [each.heard_ago for each in (await asked(house, "acme")).devices if each.heard_ago is not None]


async def test_a_device_that_is_not_shared_carries_one_job(house: House) -> None:
    async with house.control(), house.runner("bench"):
        offer = await house.offered("bench-cpu0")
        job = await house.dispatch(offer, held=True)
        await granted(house, 1)
        late = [await house.dispatch(offer), await house.dispatch(replace(offer, offer_id="offer-old"))]
        declined = await house.world.told(DispatchDeclined, count=2)
        assert {each.job_id for each in declined} == {each.job_id for each in late}
        house.release(job.run_id)
        await house.world.told(RunFinished)
        assert (await house.offered("bench-cpu0")).offer_id != offer.offer_id
    assert [row["pairs"] for row in await house.rows(AT_ONCE)] == [0]
    assert len(await house.world.all_told(LeaseGranted)) == 1


async def test_a_machine_with_notice_saves_leaves_and_loses_no_step(house: House) -> None:
    """It goes as soon as it can, long before its notice is over; an idle one takes its offer back."""
    async with house.control():
        leaving = await house.start_runner("spot", notice=120.0)
        job = await house.dispatch(await house.offered("spot-cpu0"), held=True)
        await trains(house, job, 10)
        leaving.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(leaving.wait(), 60.0) == 0
        [interrupted] = await house.world.told(RunInterrupted)
        assert (interrupted.cause, interrupted.step, interrupted.lost_steps) == ("preempted", 10, 0)
        assert "exit code 0" in interrupted.evidence
        assert "training from step 0" in interrupted.evidence
        house.release(job.run_id)
        async with house.runner("other", notice=120.0):
            [recovered] = await house.world.told(RunRecovered)
            assert (recovered.step, recovered.interruptions) == (interrupted.step, 1)
            [finished] = await house.world.told(RunFinished)
            idle = await house.offered("other-cpu0")
        gone = await house.world.told(DeviceWithdrawn)
    assert finished.steps == 12
    assert [each.offer_id for each in gone] == [idle.offer_id]
    assert [grant.device_id for grant in await house.world.all_told(LeaseGranted)] == ["spot-cpu0", "other-cpu0"]


async def test_a_child_that_cannot_stop_in_time_is_killed_within_the_notice(house: House) -> None:
    async with house.control(mean_seconds_between_losses=0.01), house.runner("other"):
        await house.offered("other-cpu0")
        leaving = await house.start_runner("spot", notice=6.0, STAND_IN_DEAF="1")
        job = await house.dispatch(await house.offered("spot-cpu0"), held=True)
        await house.world.told(CheckpointCommitted, count=10)
        leaving.send_signal(signal.SIGTERM)
        [interrupted] = await house.world.told(RunInterrupted)
        assert await asyncio.wait_for(leaving.wait(), 30.0) == 0
        saved = await house.world.all_told(CheckpointCommitted)
        assert interrupted.cause == "preempted"
        assert "SIGKILL" in interrupted.evidence
        assert interrupted.step == max(each.step for each in saved if each.fence == interrupted.fence)
        house.release(job.run_id)
        await house.world.told(RunFinished)


async def test_a_new_control_leaves_a_training_child_alone(house: House) -> None:
    first = await house.start_control()
    async with house.runner("bench"):
        job = await house.dispatch(await house.offered("bench-cpu0"), held=True)
        await trains(house, job, 3)
        first.kill()
        await first.wait()
        await house.start_control()
        await until(lambda: hears(house))
        house.release(job.run_id)
        [finished] = await house.world.told(RunFinished)
        assert finished.interruptions == 0
    assert not await house.world.all_told(RunInterrupted)
    assert len(await house.world.all_told(LeaseGranted)) == 1
    assert len(await house.world.all_told(RunStarted)) == 1


async def hears(house: House) -> bool:
    """Whether a control answers."""
    try:
        await house.world.nc.request(BEAT, encode(Beat(runner="nobody")), timeout=0.5)
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
        return False
    return True


async def test_a_frozen_holder_wakes_up_to_nothing(house: House) -> None:
    """What its child did meanwhile, it tells too late."""
    async with house.control(mean_seconds_between_losses=0.01, lease_seconds=SHORT_LEASE):
        frozen = await house.start_runner("frozen")
        job = await house.dispatch(await house.offered("frozen-cpu0"), held=True)
        await house.world.told(CheckpointCommitted)
        frozen.send_signal(signal.SIGSTOP)
        async with house.runner("other"):
            [interrupted] = await house.world.told(RunInterrupted)
            assert interrupted.cause == "lost_worker"
            await house.world.told(RunRecovered)
            house.release(job.run_id)
            await house.world.told(RunFinished)
            await until(lambda: has_no_living_child(frozen.pid))
            frozen.send_signal(signal.SIGCONT)
            [refused] = await house.world.told(WriteFenced)
            assert (refused.fence, refused.run_id) == (interrupted.fence, job.run_id)
            await house.offered("frozen-cpu0")
            await until(lambda: nothing_stale(house, job, refused.fence))
    assert len(await house.world.all_told(RunFinished)) == 1


async def test_a_runner_that_does_not_answer_keeps_no_other_from_starting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering, "PATIENCE", 600.0)
    async with house.control(lease_seconds=600.0):
        frozen = await house.start_runner("frozen")
        offer = await house.offered("frozen-cpu0")
        frozen.send_signal(signal.SIGSTOP)
        await house.dispatch(offer)
        async with house.runner("other"):
            job = await house.dispatch(await house.offered("other-cpu0"))
            [finished] = await house.world.told(RunFinished)
        assert finished.run_id == job.run_id
        frozen.kill()


async def has_no_living_child(pid: int) -> bool:
    return all(child.status() == psutil.STATUS_ZOMBIE for child in psutil.Process(pid).children(recursive=True))


async def nothing_stale(house: House, job: JobDispatched, fence: int) -> bool:
    """Whether all that lies under a fence was committed under it."""
    stale = await house.storage.list(f"acme/runs/{job.run_id}/fence-{fence}")
    kept = await house.rows("SELECT uri FROM trainer.checkpoint WHERE fence = $1", fence)
    return {key.rsplit("/", 1)[0] for key in stale} <= {row["uri"] for row in kept}


async def test_a_runner_that_hears_nobody_saves_and_takes_work_again_when_somebody_is_back(house: House) -> None:
    control = await house.start_control()
    async with house.runner("bench", patience=2.0):
        job = await house.dispatch(await house.offered("bench-cpu0"), held=True)
        await trains(house, job, 10)
        control.kill()
        await control.wait()
        await until(no_children)
        house.release(job.run_id)
        await house.start_control()
        [interrupted] = await house.world.told(RunInterrupted)
        assert (interrupted.cause, interrupted.lost_steps) == ("preempted", 0)
        [finished] = await house.world.told(RunFinished)
    assert finished.steps == 12


async def test_a_database_that_is_away_for_longer_than_a_runner_waits_interrupts_nothing(house: House) -> None:
    await house.start_control()
    async with house.runner("bench", patience=2.0):
        job = await house.dispatch(await house.offered("bench-cpu0"), held=True)
        await trains(house, job, 3)
        [lease] = await house.world.told(LeaseGranted)
        async with house.database_away():
            await asyncio.sleep(6)
            liar = Beat(runner="bench", session="another", holds=(Held(run_id=job.run_id, fence=lease.fence),))
            with pytest.raises(nats.errors.TimeoutError):
                await house.world.nc.request(BEAT, encode(liar), timeout=1)
        house.release(job.run_id)
        [finished] = await house.world.told(RunFinished)
    assert finished.interruptions == 0
    assert len(await house.world.all_told(LeaseGranted)) == 1


async def no_children() -> bool:
    return not descendants("stand_in")


async def test_after_an_infrastructure_error_the_run_waits_and_its_device_works_for_others(house: House) -> None:
    async with house.control(retry_last_seconds=1800.0), house.runner("bench"):
        lost = await house.dispatch(await house.offered("bench-cpu0"), dataset_uri="acme/datasets/gone")
        [interrupted] = await house.world.told(RunInterrupted)
        assert (interrupted.cause, interrupted.job_id) == ("infrastructure", lost.job_id)
        assert 60 <= interrupted.wait_seconds <= 120
        [row] = await house.rows(WAITS)
        assert 0 < row["wait"] <= 120
        assert row["barren"] == 0
        other = await house.dispatch(await house.offered("bench-cpu0"))
        [finished] = await house.world.told(RunFinished)
        assert finished.job_id == other.job_id


async def test_data_without_its_hash_fails_with_a_reason(house: House) -> None:
    async with house.control(), house.runner("bench"):
        await house.dispatch(await house.offered("bench-cpu0"), dataset_digest="0" * 64)
        [failed] = await house.world.told(RunFailed)
    assert failed.reason == "infrastructure"
    assert "not what was written" in failed.message
    assert "sha256" in failed.evidence
    assert len(await house.world.all_told(RunInterrupted)) == 10
