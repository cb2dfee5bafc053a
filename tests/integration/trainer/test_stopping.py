"""Stopping a run: paused, made to make way or cancelled, whatever it races; and coming back from it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from contracts.base import Event, new_id
from contracts.jobs import Estimate, JobCancelled, JobDispatched, JobStopping
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import (
    DeviceOffered,
    DispatchDeclined,
    LeaseGranted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunPaused,
    RunRecovered,
    RunStarted,
)
from libs.db.database import now
from libs.service import Platform
from libs.testing.platform import World
from services.trainer.app import build
from services.trainer.line import Broken, Halted, Launch, Reached, Stop
from services.trainer.settings import TrainerSettings
from tests.integration.trainer.house import standing_offer
from tests.integration.trainer.line_runner import LineRunner


class Bench:
    """A control, a runner that does as it is told, and the scheduler's facts."""

    def __init__(self, world: World, platform: Platform, runner: LineRunner) -> None:
        self.world = world
        self.platform = platform
        self.runner = runner

    async def offer(self) -> DeviceOffered:
        """Wait for the offer that stands for the device."""
        return await standing_offer(self.world, "bench-cpu")

    def job(self, offer: DeviceOffered) -> JobDispatched:
        return JobDispatched(
            tenant="acme",
            at=now(),
            job_id=new_id("ftjob"),
            run_id=new_id("run"),
            offer_id=offer.offer_id,
            device_id=offer.device_id,
            recipe=Recipe(base_model=SHIPPED_MODEL, max_steps=90),
            estimate=Estimate(
                seconds=30,
                seconds_low=1,
                seconds_high=90,
                cost=0.01,
                currency="EUR",
                memory_bytes=1,
                steps=90,
                tokens=1,
            ),
            dataset_id="ds-1",
            dataset_digest="d" * 64,
            dataset_uri="acme/datasets/d",
        )

    async def training(self) -> tuple[JobDispatched, Launch]:
        """Bring a job as far as training."""
        job = self.job(await self.offer())
        await self.world.tell(job)
        return job, await self.trains(job)

    async def trains(self, job: JobDispatched, step: int = 0) -> Launch:
        launch = await self.runner.ordered(Launch)
        assert launch.job_id == job.job_id
        assert await self.runner.report(launch, Reached(stage="training", step=step))
        return launch

    async def stop(self, job: JobDispatched, why: str = "pause") -> None:
        await self.world.tell(stopping(job, why))

    async def halts(self, launch: Launch, step: int) -> None:
        """Save at this step and stop, as the order says."""
        assert (await self.runner.ordered(Stop)).fence == launch.fence
        await self.runner.saves(launch, step)
        assert await self.runner.report(launch, Halted(step=step))

    @asynccontextmanager
    async def no_device(self) -> AsyncIterator[None]:
        """Keep the device out of sight of whoever would be given it."""
        async with self.platform.db.across_tenants() as tx:
            await tx.execute("UPDATE trainer.device SET online = false")
        yield
        await self.runner.hello()

    async def again(self, job: JobDispatched) -> JobDispatched:
        """Dispatch the job's run once more."""
        job = replace(job, offer_id=(await self.offer()).offer_id)
        await self.world.tell(job)
        return job


def stopping(job: JobDispatched, why: str = "pause") -> JobStopping:
    return JobStopping(tenant="acme", at=now(), job_id=job.job_id, run_id=job.run_id, offer_id=job.offer_id, why=why)


def cancelled(job: JobDispatched) -> JobCancelled:
    return JobCancelled(tenant="acme", at=now(), job_id=job.job_id, offer_id=job.offer_id)


@pytest.fixture
async def bench(world: World) -> AsyncIterator[Bench]:
    platform = await world.platform("trainer")
    settings = world.settings(TrainerSettings, lease_seconds=60.0)
    assert isinstance(settings, TrainerSettings)
    async with world.service(await build(settings, platform), platform), LineRunner.dialling(world) as runner:
        yield Bench(world, platform, runner)


async def test_a_paused_run_frees_its_device_and_comes_back_from_its_last_save(bench: Bench) -> None:
    job, launch = await bench.training()
    await bench.runner.saves(launch, 12)
    await bench.stop(job)
    await bench.stop(job)
    await bench.halts(launch, 30)
    [paused] = await bench.world.told(RunPaused)
    assert (paused.run_id, paused.step, paused.lost_steps, paused.why) == (job.run_id, 30, 0, "pause")
    assert paused.device_seconds > 0
    await bench.again(job)
    second = await bench.trains(job, step=30)
    assert (second.run_id, second.attempt, second.recipe) == (launch.run_id, 2, launch.recipe)
    assert second.fence > launch.fence
    assert [saved.step for saved in second.checkpoints] == [30, 12]
    [recovered] = await bench.world.told(RunRecovered)
    assert (recovered.step, recovered.interruptions, recovered.lost_seconds) == (30, 0, 0.0)
    assert await bench.runner.finishes(second)
    [finished] = await bench.world.told(RunFinished)
    assert (finished.interruptions, finished.pauses, finished.lost_steps) == (0, 1, 0)
    assert len(await bench.world.all_told(RunStarted)) == 2
    assert not await bench.world.all_told(RunInterrupted)


async def test_making_way_is_an_interruption_that_costs_time_but_no_step_and_no_budget(bench: Bench) -> None:
    job, launch = await bench.training()
    for number in range(6):
        await bench.stop(job, "preempt")
        await bench.halts(launch, 10 + number)
        job = await bench.again(job)
        launch = await bench.trains(job, step=10 + number)
    recovered = (await bench.world.told(RunRecovered, count=6))[-1]
    assert (recovered.interruptions, recovered.lost_steps) == (6, 0)
    assert recovered.lost_seconds > 0
    assert await bench.runner.finishes(launch)
    [finished] = await bench.world.told(RunFinished)
    assert (finished.interruptions, finished.lost_steps, finished.pauses) == (6, 0, 0)


async def test_a_child_that_dies_while_stopping_is_paused_from_its_newest_save(bench: Bench) -> None:
    job, launch = await bench.training()
    await bench.runner.saves(launch, 12)
    await bench.stop(job)
    await bench.runner.ordered(Stop)
    died = Broken(kind="", message="", exit_code=-9, stderr="", step=20)
    assert await bench.runner.report(launch, died)
    [paused] = await bench.world.told(RunPaused)
    assert (paused.step, paused.lost_steps) == (12, 8)
    assert not await bench.world.all_told(RunInterrupted)


async def test_a_runner_that_starts_anew_while_its_run_stops_leaves_it_paused(bench: Bench) -> None:
    job, launch = await bench.training()
    await bench.stop(job)
    await bench.runner.ordered(Stop)
    await bench.runner.hello()
    await bench.world.told(RunPaused)
    assert not await bench.runner.report(launch, Halted(step=3))
    await bench.again(job)
    await bench.trains(job)


async def test_a_run_that_waits_for_a_device_after_a_loss_is_paused_at_once(bench: Bench) -> None:
    job, launch = await bench.training()
    await bench.runner.saves(launch, 12)
    async with bench.no_device():
        died = Broken(kind="", message="", exit_code=-9, stderr="", step=15)
        assert await bench.runner.report(launch, died)
        [interrupted] = await bench.world.told(RunInterrupted)
        await bench.stop(job)
        [paused] = await bench.world.told(RunPaused)
    assert (interrupted.lost_steps, paused.step, paused.lost_steps) == (3, 12, 0)
    await bench.again(job)
    await bench.trains(job, step=12)
    [recovered] = await bench.world.told(RunRecovered)
    assert (recovered.interruptions, recovered.lost_steps) == (1, 3)


async def test_a_run_that_waits_for_a_device_after_a_loss_is_cancelled_at_once(bench: Bench) -> None:
    job, launch = await bench.training()
    async with bench.no_device():
        died = Broken(kind="", message="", exit_code=-9, stderr="", step=15)
        assert await bench.runner.report(launch, died)
        await bench.world.told(RunInterrupted)
        await bench.world.tell(cancelled(job))
        await bench.world.told(RunCancelled)
    await bench.offer()
    assert len(await bench.world.all_told(LeaseGranted)) == 1


async def test_of_an_adapter_and_a_pause_the_adapter_wins(bench: Bench) -> None:
    job, launch = await bench.training()
    await bench.stop(job)
    await bench.runner.ordered(Stop)
    assert await bench.runner.finishes(launch)
    [finished] = await bench.world.told(RunFinished)
    assert finished.job_id == job.job_id
    await bench.stop(job)
    await bench.offer()
    assert not await bench.world.all_told(RunPaused)


async def test_what_can_never_work_fails_also_while_pausing(bench: Bench) -> None:
    job, launch = await bench.training()
    await bench.stop(job)
    await bench.runner.ordered(Stop)
    broken = Broken(kind="user_data", message="No text.", exit_code=1, stderr="", step=0)
    assert await bench.runner.report(launch, broken)
    await bench.world.told(RunFailed)
    assert not await bench.world.all_told(RunPaused)


@pytest.mark.parametrize("order", ["pause first", "cancel first"])
async def test_a_job_cancelled_while_its_run_stops_is_cancelled(bench: Bench, order: str) -> None:
    job, launch = await bench.training()
    wishes: list[Event] = [stopping(job), cancelled(job)]
    for wish in wishes if order == "pause first" else reversed(wishes):
        await bench.world.tell(wish)
        await bench.runner.ordered(Stop)
    await bench.halts(launch, 5)
    await bench.world.told(RunCancelled)
    assert not await bench.world.all_told(RunPaused)
    await bench.offer()


async def test_a_paused_job_is_cancelled_at_once(bench: Bench) -> None:
    job, launch = await bench.training()
    await bench.stop(job)
    await bench.halts(launch, 5)
    await bench.world.told(RunPaused)
    await bench.world.tell(cancelled(job))
    await bench.world.told(RunCancelled)
    again = await bench.again(job)
    [declined] = await bench.world.told(DispatchDeclined)
    assert declined.run_id == again.run_id


@pytest.mark.parametrize("wish", [stopping, cancelled])
async def test_a_wish_that_overtakes_its_dispatch_is_not_lost(
    bench: Bench, wish: Callable[[JobDispatched], Event]
) -> None:
    job = bench.job(await bench.offer())
    await bench.world.tell(wish(job))
    await bench.world.tell(job)
    [declined] = await bench.world.told(DispatchDeclined)
    assert declined.job_id == job.job_id
    _, launch = await bench.training()
    assert launch.job_id != job.job_id
    assert len(await bench.world.all_told(LeaseGranted)) == 1


async def test_an_order_about_an_earlier_dispatch_stops_no_later_one(bench: Bench) -> None:
    first, launch = await bench.training()
    await bench.stop(first)
    await bench.halts(launch, 5)
    await bench.again(first)
    second = await bench.trains(first, step=5)
    await bench.stop(first)
    assert await bench.runner.finishes(second)
    await bench.world.told(RunFinished)
    assert len(await bench.world.all_told(RunPaused)) == 1


async def test_a_runner_that_never_got_the_attempt_says_so_and_the_device_is_free(bench: Bench) -> None:
    job, launch = await bench.training()
    bench.runner.holds.clear()
    await bench.stop(job)
    await bench.world.told(RunPaused)
    await bench.offer()
    assert not await bench.runner.report(launch, Halted(step=3))
