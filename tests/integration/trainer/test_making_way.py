"""Scheduler, control and runner together on one device: pausing, resuming, and a more urgent job that passes."""

from collections.abc import AsyncIterator

import pytest

from contracts.datasets import DatasetReady
from contracts.jobs import (
    JobCancelAsked,
    JobCancelled,
    JobDispatched,
    JobPauseAsked,
    JobPaused,
    JobResumeAsked,
    JobStopping,
    JobSubmitted,
    JobSucceeded,
    Overrides,
)
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import CheckpointCommitted, RunCancelled, RunPaused, RunRecovered
from libs.db.database import now
from services.scheduler.app import build
from services.scheduler.settings import Settings
from tests.integration.trainer.house import House

LONGEST = 86_400.0
"""On a device this slow, a limit of a day comes to twenty steps; the runner's children pretend them in a moment."""


@pytest.fixture
async def one_device(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Runs train up to two steps before their end, until they are released."""
    monkeypatch.setenv("STAND_IN_STEP", "0.02")
    house.hold()
    settings = house.world.settings(Settings)
    assert isinstance(settings, Settings)
    platform = await house.world.platform("scheduler")
    async with house.world.service(await build(settings, platform), platform), house.control(), house.runner("bench"):
        await house.offered("bench-cpu0")
        uri, digest = house.dataset
        await house.world.tell(
            DatasetReady(
                tenant="acme",
                at=now(),
                dataset_id="dataset-1",
                digest=digest,
                uri=uri,
                base_model=SHIPPED_MODEL,
                format="messages",
                train_examples=1600,
                validation_examples=100,
                test_examples=100,
                train_tokens=200_000,
                trained_tokens=100_000,
                truncated=0,
            )
        )
        yield house


def submitted(job_id: str, priority: str = "medium") -> JobSubmitted:
    return JobSubmitted(
        tenant="acme",
        at=now(),
        version=1,
        job_id=job_id,
        dataset_id="dataset-1",
        training_file="file-1",
        base_model=SHIPPED_MODEL,
        preset="quick",
        overrides=Overrides(time_limit=LONGEST),
        seed=7,
        priority=priority,
    )


def pause_asked(job_id: str, version: int) -> JobPauseAsked:
    return JobPauseAsked(tenant="acme", at=now(), version=version, job_id=job_id)


def resume_asked(job_id: str, version: int) -> JobResumeAsked:
    return JobResumeAsked(tenant="acme", at=now(), version=version, job_id=job_id)


async def test_an_urgent_job_passes_and_the_other_comes_back_and_loses_nothing(one_device: House) -> None:
    world = one_device.world
    await world.tell(submitted("patient", "low"))
    await world.told(CheckpointCommitted)
    await world.tell(submitted("urgent", "high"))
    await world.told(RunPaused)
    one_device.release()
    succeeded = await world.told(JobSucceeded, count=2)
    assert [each.job_id for each in succeeded] == ["urgent", "patient"]
    [order], [paused] = await world.all_told(JobStopping), await world.all_told(RunPaused)
    assert (order.job_id, order.why, paused.why, paused.lost_steps) == ("patient", "preempt", "preempt", 0)
    [recovered] = await world.all_told(RunRecovered)
    assert recovered.step == paused.step > 0
    patient = succeeded[1]
    assert (patient.interruptions, patient.lost_steps) == (1, 0)
    assert patient.lost_seconds > 0
    first, urgent, again = await world.all_told(JobDispatched)
    assert (first.job_id, urgent.job_id, again.job_id) == ("patient", "urgent", "patient")
    assert (again.run_id, again.recipe) == (first.run_id, first.recipe)


async def test_a_paused_job_lets_the_next_one_train_and_goes_on_when_resumed(one_device: House) -> None:
    world = one_device.world
    await world.tell(submitted("first"))
    await world.told(CheckpointCommitted)
    await world.tell(pause_asked("first", 2))
    await world.told(JobPaused)
    one_device.release()
    await world.tell(submitted("second"))
    [done] = await world.told(JobSucceeded)
    assert done.job_id == "second"
    await world.tell(resume_asked("first", 3))
    done = (await world.told(JobSucceeded, count=2))[1]
    assert (done.job_id, done.interruptions, done.lost_steps) == ("first", 0, 0)


async def test_a_job_resumed_while_it_saves_comes_back_by_itself(one_device: House) -> None:
    world = one_device.world
    await world.tell(submitted("hesitant"))
    await world.told(CheckpointCommitted)
    await world.tell(pause_asked("hesitant", 2))
    await world.tell(resume_asked("hesitant", 3))
    await world.told(RunPaused)
    one_device.release()
    await world.told(JobSucceeded)
    assert await world.all_told(JobPaused) == []


async def test_a_job_cancelled_while_it_saves_ends_and_its_device_is_offered_again(one_device: House) -> None:
    world = one_device.world
    await world.tell(submitted("unwanted"))
    await world.told(CheckpointCommitted)
    await world.tell(pause_asked("unwanted", 2))
    await world.tell(JobCancelAsked(tenant="acme", at=now(), version=3, job_id="unwanted"))
    await world.told(RunCancelled)
    await world.told(JobCancelled)
    one_device.release()
    await world.tell(submitted("next"))
    [done] = await world.told(JobSucceeded)
    assert done.job_id == "next"
    assert await world.all_told(JobPaused) == []
