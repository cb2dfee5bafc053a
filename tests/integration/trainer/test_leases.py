"""Devices, runners and jobs, several at once; machines that leave, freeze and come back; controls that are killed."""

import asyncio
import signal

import psutil

from contracts.jobs import JobDispatched
from contracts.runs import (
    CheckpointCommitted,
    DeviceOffered,
    DeviceWithdrawn,
    DispatchDeclined,
    LeaseGranted,
    RunFinished,
    RunInterrupted,
    RunProgressed,
    RunRecovered,
    RunStarted,
    WriteFenced,
)
from tests.integration.trainer.house import House
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
    async with asyncio.timeout(20):
        while not any(
            seen.job_id == job.job_id and seen.step >= step for seen in await house.world.all_told(RunProgressed)
        ):
            await asyncio.sleep(0.05)


async def test_two_runners_with_three_devices_train_three_jobs_at_once(house: House) -> None:
    async with house.control(), house.runner("left", devices=2), house.runner("right"):
        offers = await house.world.told(DeviceOffered, count=3)
        assert {offer.device_id for offer in offers} == {"left-cpu0", "left-cpu1", "right-cpu0"}
        jobs = [await house.dispatch(offer) for offer in offers]
        finished = await house.world.told(RunFinished, count=3, timeout=20)
    assert {each.job_id for each in finished} == {job.job_id for job in jobs}
    [row] = await house.rows(AT_ONCE)
    assert row["pairs"] == 3
    assert not await house.world.all_told(RunInterrupted)


async def test_small_jobs_share_a_device_as_long_as_their_memory_fits(house: House) -> None:
    async with house.control(), house.runner("bench", shared=True):
        [whole] = await house.world.told(DeviceOffered)
        first = await house.dispatch(whole, steps=90, memory=3 * GB)
        after_one = (await house.world.told(DeviceOffered, count=2))[1]
        await house.dispatch(after_one, steps=40, memory=3 * GB)
        after_two = (await house.world.told(DeviceOffered, count=3))[2]
        assert [whole.memory_bytes, after_one.memory_bytes, after_two.memory_bytes] == [MEMORY, 5 * GB, 2 * GB]
        too_large = await house.dispatch(after_two, memory=3 * GB)
        [declined] = await house.world.told(DispatchDeclined)
        assert declined.job_id == too_large.job_id
        [finished] = await house.world.told(RunFinished, timeout=20)
        assert finished.job_id != first.job_id
        freed = (await house.world.told(DeviceOffered, count=5))[4]
        assert freed.memory_bytes == 5 * GB
        await house.dispatch(freed, memory=3 * GB, job_id=too_large.job_id)
        await house.world.told(RunFinished, count=3, timeout=20)
    [row] = await house.rows(AT_ONCE)
    assert row["pairs"] == 2


async def test_a_device_that_is_not_shared_carries_one_job(house: House) -> None:
    async with house.control(), house.runner("bench"):
        [offer] = await house.world.told(DeviceOffered)
        await house.dispatch(offer, steps=30)
        await house.dispatch(offer)
        await house.world.told(DispatchDeclined)
        await house.world.told(RunFinished, timeout=20)
        assert len(await house.world.told(DeviceOffered, count=2)) == 2
    assert [row["pairs"] for row in await house.rows(AT_ONCE)] == [0]


async def test_a_machine_with_notice_saves_leaves_and_loses_no_step(house: House) -> None:
    async with house.control():
        leaving = await house.start_runner("spot", notice=5.0)
        [offer] = await house.world.told(DeviceOffered)
        job = await house.dispatch(offer, steps=60)
        await trains(house, job, 3)
        began = asyncio.get_running_loop().time()
        leaving.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(leaving.wait(), 5.0) == 0
        assert asyncio.get_running_loop().time() - began < 4.0
        [interrupted] = await house.world.told(RunInterrupted)
        assert (interrupted.cause, interrupted.lost_steps) == ("preempted", 0)
        assert interrupted.step >= 3
        assert "exit code 0" in interrupted.evidence
        assert "training from step 0" in interrupted.evidence
        async with house.runner("other"):
            [recovered] = await house.world.told(RunRecovered, timeout=20)
            assert (recovered.step, recovered.interruptions) == (interrupted.step, 1)
            [finished] = await house.world.told(RunFinished, timeout=20)
    assert finished.steps == 60
    assert [grant.device_id for grant in await house.world.all_told(LeaseGranted)] == ["spot-cpu0", "other-cpu0"]


async def test_an_idle_machine_that_leaves_takes_its_offer_back_at_once(house: House) -> None:
    async with house.control():
        idle = await house.start_runner("spot", notice=30.0)
        [offer] = await house.world.told(DeviceOffered)
        idle.send_signal(signal.SIGTERM)
        [gone] = await house.world.told(DeviceWithdrawn, timeout=2.0)
        assert gone.offer_id == offer.offer_id
        assert await asyncio.wait_for(idle.wait(), 2.0) == 0


async def test_a_child_that_cannot_stop_in_time_is_killed_within_the_notice(house: House) -> None:
    async with house.control(mean_seconds_between_losses=0.01), house.runner("other"):
        await house.world.told(DeviceOffered)
        leaving = await house.start_runner("spot", notice=4.0, STAND_IN_DEAF="1")
        offers = await house.world.told(DeviceOffered, count=2)
        [offer] = [each for each in offers if each.device_id == "spot-cpu0"]
        await house.dispatch(offer, steps=160)
        await house.world.told(CheckpointCommitted, timeout=20)
        leaving.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(leaving.wait(), 6.0) == 0
        [interrupted] = await house.world.told(RunInterrupted)
        saved = await house.world.all_told(CheckpointCommitted)
        assert interrupted.cause == "preempted"
        assert "SIGKILL" in interrupted.evidence
        assert interrupted.step == max(each.step for each in saved if each.fence == interrupted.fence)
        await house.world.told(RunFinished, timeout=30)


async def test_a_new_control_leaves_a_training_child_alone(house: House) -> None:
    first = await house.start_control()
    async with house.runner("bench", patience=20.0):
        [offer] = await house.world.told(DeviceOffered, timeout=20)
        job = await house.dispatch(offer, steps=90)
        await trains(house, job, 3)
        first.kill()
        await first.wait()
        await house.start_control()
        [finished] = await house.world.told(RunFinished, timeout=30)
        assert finished.interruptions == 0
    assert not await house.world.all_told(RunInterrupted)
    assert len(await house.world.all_told(LeaseGranted)) == 1
    assert len(await house.world.all_told(RunStarted)) == 1


async def test_a_frozen_holder_wakes_up_to_nothing(house: House) -> None:
    async with house.control(mean_seconds_between_losses=0.01):
        frozen = await house.start_runner("frozen")
        [offer] = await house.world.told(DeviceOffered)
        job = await house.dispatch(offer, steps=140)
        await house.world.told(CheckpointCommitted, timeout=20)
        frozen.send_signal(signal.SIGSTOP)
        async with house.runner("other"):
            [interrupted] = await house.world.told(RunInterrupted, timeout=20)
            assert interrupted.cause == "lost_worker"
            await house.world.told(RunRecovered, timeout=20)
            frozen.send_signal(signal.SIGCONT)
            [refused] = await house.world.told(WriteFenced, timeout=20)
            assert (refused.fence, refused.run_id) == (interrupted.fence, job.run_id)
            await house.world.told(DeviceOffered, count=3, timeout=20)
            await house.world.told(RunFinished, timeout=30)
    stale = await house.storage.list(f"acme/runs/{job.run_id}/fence-{refused.fence}")
    kept = await house.rows("SELECT uri FROM trainer.checkpoint WHERE fence = $1", refused.fence)
    assert {key.rsplit("/", 1)[0] for key in stale} <= {row["uri"] for row in kept}


async def test_a_runner_that_hears_nobody_saves_and_takes_work_again_when_somebody_is_back(house: House) -> None:
    control = await house.start_control()
    async with house.runner("bench", patience=3.0):
        [offer] = await house.world.told(DeviceOffered, timeout=20)
        job = await house.dispatch(offer, steps=120)
        await trains(house, job, 3)
        control.kill()
        await control.wait()
        async with asyncio.timeout(10):
            while any("stand_in" in " ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)):
                await asyncio.sleep(0.05)
        await house.start_control()
        [interrupted] = await house.world.told(RunInterrupted, timeout=20)
        assert (interrupted.cause, interrupted.lost_steps) == ("preempted", 0)
        [finished] = await house.world.told(RunFinished, timeout=30)
    assert finished.steps == 120


async def test_after_an_infrastructure_error_the_run_waits_and_its_device_works_for_others(house: House) -> None:
    async with house.control(retry_last_seconds=1800.0), house.runner("bench"):
        [offer] = await house.world.told(DeviceOffered)
        lost = await house.dispatch(offer, dataset_uri="acme/datasets/gone")
        [interrupted] = await house.world.told(RunInterrupted)
        assert (interrupted.cause, interrupted.job_id) == ("infrastructure", lost.job_id)
        [row] = await house.rows(WAITS)
        assert 50 < row["wait"] <= 120
        assert row["barren"] == 0
        again = (await house.world.told(DeviceOffered, count=2))[1]
        other = await house.dispatch(again)
        [finished] = await house.world.told(RunFinished, timeout=20)
        assert finished.job_id == other.job_id
