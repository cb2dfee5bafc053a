"""Pausing, resuming and making way: no wish is lost, whatever it races, and a run comes back as itself."""

import asyncio
import random
from collections import Counter

import pytest

from contracts.base import Event, new_id
from contracts.jobs import (
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobPaused,
    JobQueued,
    JobResumed,
    JobStopping,
    JobSucceeded,
)
from tests.integration.scheduler.house import Scheduler
from tests.unit.scheduler import facts

GB = 1_000_000_000
ENDS = (JobSucceeded, JobFailed, JobCancelled)


async def state_of(scheduler: Scheduler, job_id: str = "ftjob-1") -> str:
    [row] = await scheduler.rows("SELECT state FROM scheduler.job WHERE job_id = $1", job_id)
    return str(row["state"])


async def at_work(scheduler: Scheduler, **changes: object) -> JobDispatched:
    """Bring a job onto a device and return its dispatch."""
    await scheduler.hears(facts.ready(), facts.submitted(**changes))
    await scheduler.hears(facts.offered(device_id="cpu-0", offer_id=new_id("offer"), version=_version()))
    told = (await scheduler.told(JobDispatched))[-1]
    await scheduler.hears(facts.started(told.run_id, job_id=told.job_id))
    return told


def _version() -> int:
    _version.last += 1  # type: ignore[attr-defined]
    return int(_version.last)  # type: ignore[attr-defined]


_version.last = 0  # type: ignore[attr-defined]


# --- pausing ---


async def test_a_queued_job_is_paused_at_once_and_keeps_its_age(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.submitted(), facts.submitted(job_id="later"), facts.ready())
    await scheduler.hears(facts.pause_asked(), facts.offered(), facts.resume_asked())
    assert [each.job_id for each in await scheduler.told(JobDispatched)] == ["later"]
    assert (await state_of(scheduler), len(await scheduler.told(JobPaused))) == ("queued", 1)


async def test_a_pause_asked_for_while_the_file_is_checked_is_kept(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.submitted(), facts.pause_asked(), facts.ready(), facts.offered())
    assert await scheduler.told(JobQueued) == []
    await scheduler.hears(facts.resume_asked())
    assert len(await scheduler.told(JobDispatched)) == 1


async def test_a_job_resumed_before_its_file_is_checked_goes_on_when_it_is(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.submitted(), facts.pause_asked(), facts.resume_asked())
    assert await state_of(scheduler) == "validating_files"
    await scheduler.hears(facts.ready())
    assert await state_of(scheduler) == "queued"


async def test_a_wish_that_comes_before_the_submission_is_kept(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.pause_asked(), facts.ready(), facts.submitted(), facts.offered())
    assert (await state_of(scheduler), await scheduler.told(JobDispatched)) == ("paused", [])
    await scheduler.hears(facts.resume_asked())
    assert len(await scheduler.told(JobDispatched)) == 1


async def test_an_older_wish_that_comes_late_changes_nothing(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.resume_asked(3), facts.pause_asked(2), facts.submitted(), facts.ready())
    assert await state_of(scheduler) == "queued"
    await scheduler.hears(facts.pause_asked(6), facts.resume_asked(5), facts.pause_asked(4))
    assert await state_of(scheduler) == "paused"


async def test_what_can_never_train_fails_also_where_it_was_paused_first(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.pause_asked(), facts.submitted(preset="gigantic"))
    assert len(await scheduler.told(JobFailed)) == 1


async def test_a_job_at_work_is_paused_when_its_run_is_and_comes_back_as_the_same_run(scheduler: Scheduler) -> None:
    first = await at_work(scheduler, overrides=facts.Overrides(time_limit=60.0))
    await scheduler.hears(facts.pause_asked(), facts.pause_asked())
    [order] = await scheduler.told(JobStopping)
    assert (order.run_id, order.offer_id, order.why) == (first.run_id, first.offer_id, "pause")
    assert await scheduler.told(JobPaused) == []
    await scheduler.hears(facts.paused(first.run_id))
    assert len(await scheduler.told(JobPaused)) == 1
    await scheduler.hears(facts.offered(offer_id="faster", version=_version(), flops=2.7e14), facts.resume_asked())
    again = (await scheduler.told(JobDispatched))[-1]
    assert (again.run_id, again.recipe) == (first.run_id, first.recipe), "another recipe is another training"
    assert again.offer_id == "faster"
    assert (await scheduler.told(JobQueued))[-1].recipe == first.recipe


async def test_a_job_resumed_before_its_run_has_stopped_goes_back_to_the_queue(scheduler: Scheduler) -> None:
    run = (await at_work(scheduler)).run_id
    await scheduler.hears(facts.pause_asked(2), facts.resume_asked(3), facts.paused(run))
    assert (await state_of(scheduler), await scheduler.told(JobPaused)) == ("queued", [])
    assert len(await scheduler.told(JobResumed)) == 1


async def test_a_job_that_is_paused_resumed_and_paused_while_it_saves_ends_up_paused(scheduler: Scheduler) -> None:
    run = (await at_work(scheduler)).run_id
    await scheduler.hears(facts.pause_asked(2), facts.resume_asked(3), facts.pause_asked(4), facts.paused(run))
    assert await state_of(scheduler) == "paused"


async def test_a_dispatch_that_is_declined_while_pausing_leaves_the_job_paused(scheduler: Scheduler) -> None:
    told = await at_work(scheduler)
    await scheduler.hears(facts.pause_asked(), facts.declined(told.run_id), facts.declined(told.run_id))
    assert await state_of(scheduler) == "paused"


@pytest.mark.parametrize("resumed", [False, True])
async def test_a_run_that_finishes_or_fails_while_pausing_ends_the_job(scheduler: Scheduler, resumed: bool) -> None:
    for fact, end in ((facts.finished, JobSucceeded), (facts.failed, JobFailed)):
        job_id = end.__name__
        told = await at_work(scheduler, job_id=job_id)
        await scheduler.hears(facts.pause_asked(job_id=job_id))
        if resumed:
            await scheduler.hears(facts.resume_asked(job_id=job_id))
        await scheduler.hears(fact(told.run_id, job_id=job_id), facts.paused(told.run_id, job_id=job_id))
        assert [each.job_id for each in await scheduler.told(end)] == [job_id]


async def test_a_job_cancelled_while_pausing_or_paused_is_cancelled(scheduler: Scheduler) -> None:
    for number, paused in enumerate((False, True)):
        told = await at_work(scheduler, job_id=f"job-{number}")
        await scheduler.hears(facts.pause_asked(job_id=told.job_id))
        if paused:
            await scheduler.hears(facts.paused(told.run_id, job_id=told.job_id))
        await scheduler.hears(facts.cancel_asked(job_id=told.job_id), facts.resume_asked(job_id=told.job_id))
        cancelled = (await scheduler.told(JobCancelled))[number]
        assert (cancelled.job_id, cancelled.offer_id) == (told.job_id, told.offer_id)


async def test_a_run_that_was_paused_teaches_no_estimate(scheduler: Scheduler) -> None:
    run = (await at_work(scheduler)).run_id
    await scheduler.hears(facts.finished(run, pauses=1))
    assert await scheduler.rows("SELECT runs FROM scheduler.calibration") == []


# --- making way ---


async def test_a_more_urgent_job_gets_the_device_and_the_other_comes_back_to_its_place(scheduler: Scheduler) -> None:
    low = await at_work(scheduler, priority="low")
    await scheduler.hears(facts.submitted(job_id="younger", priority="low", at=facts.AT.replace(hour=13)))
    await scheduler.hears(facts.submitted(job_id="urgent", priority="high"))
    [order] = await scheduler.told(JobStopping)
    assert (order.job_id, order.offer_id, order.why) == (low.job_id, low.offer_id, "preempt")
    await scheduler.hears(facts.paused(low.run_id, why="preempt"), facts.offered(offer_id="o-2", version=_version()))
    urgent = (await scheduler.told(JobDispatched))[-1]
    assert (urgent.job_id, urgent.offer_id) == ("urgent", "o-2")
    await scheduler.hears(facts.finished(urgent.run_id, job_id="urgent"))
    await scheduler.hears(facts.offered(offer_id="o-3", version=_version()))
    back = (await scheduler.told(JobDispatched))[-1]
    assert (back.job_id, back.run_id, back.recipe) == (low.job_id, low.run_id, low.recipe)


async def test_each_waiting_job_asks_for_one_device_only(scheduler: Scheduler) -> None:
    """Also in the moment when a device has been let go and is not offered yet."""
    await scheduler.hears(facts.ready())
    for number in range(3):
        await scheduler.hears(facts.submitted(job_id=f"low-{number}", priority="low"))
        await scheduler.hears(facts.offered(device_id=f"cpu-{number}", offer_id=f"offer-{number}"))
    await scheduler.hears(facts.submitted(job_id="urgent", priority="high"))
    [order] = await scheduler.told(JobStopping)
    await scheduler.hears(facts.submitted(job_id="another", priority="low"))
    await scheduler.hears(facts.paused(order.run_id, job_id=order.job_id, why="preempt"))
    await scheduler.hears(facts.submitted(job_id="one-more", priority="low"))
    assert len(await scheduler.told(JobStopping)) == 1
    await scheduler.hears(facts.submitted(job_id="also-urgent", priority="high"))
    assert len(await scheduler.told(JobStopping)) == 2


async def test_one_job_of_a_shared_device_makes_way_and_the_other_stays(scheduler: Scheduler) -> None:
    """Also in the moment when its share is free and only the small rest is on offer."""
    await scheduler.hears(facts.ready())
    whole = 12 * GB
    for number in range(2):
        await scheduler.hears(facts.submitted(job_id=f"low-{number}", priority="low"))
        rest = facts.offered(offer_id=f"offer-{number}", version=_version(), memory_bytes=whole - number * 5 * GB)
        await scheduler.hears(rest)
    runs = {told.job_id: told.run_id for told in await scheduler.told(JobDispatched)}
    await scheduler.hears(facts.offered(offer_id="rest", version=_version(), memory_bytes=2 * GB))
    await scheduler.hears(facts.submitted(job_id="urgent", priority="high"))
    [order] = await scheduler.told(JobStopping)
    assert order.job_id == "low-1"
    await scheduler.hears(facts.paused(runs["low-1"], job_id="low-1", why="preempt"))
    await scheduler.hears(facts.submitted(job_id="another", priority="low"))
    assert len(await scheduler.told(JobStopping)) == 1
    await scheduler.hears(facts.offered(offer_id="more", version=_version(), memory_bytes=7 * GB))
    urgent = (await scheduler.told(JobDispatched))[-1]
    assert (urgent.job_id, urgent.offer_id, len(await scheduler.told(JobStopping))) == ("urgent", "more", 1)


async def test_where_a_recovering_run_takes_the_device_that_was_let_go_another_job_makes_way(
    scheduler: Scheduler,
) -> None:
    await scheduler.hears(facts.ready())
    for number in range(2):
        await scheduler.hears(facts.submitted(job_id=f"low-{number}", priority="low"))
        await scheduler.hears(facts.offered(device_id=f"cpu-{number}", offer_id=f"offer-{number}"))
    runs = {told.job_id: (told.run_id, told.device_id) for told in await scheduler.told(JobDispatched)}
    await scheduler.hears(facts.submitted(job_id="urgent", priority="high"))
    [order] = await scheduler.told(JobStopping)
    await scheduler.hears(facts.paused(order.run_id, job_id=order.job_id, why="preempt"))
    freed, other = runs.pop(order.job_id)[1], *runs
    moved = facts.lease_granted(runs[other][0], job_id=other, device_id=freed, fence=9)
    await scheduler.hears(moved, facts.lease_granted(runs[other][0], job_id=other, device_id="old", fence=3), moved)
    assert [each.job_id for each in await scheduler.told(JobStopping)] == [order.job_id, other]
    await scheduler.hears(facts.paused(runs[other][0], job_id=other, why="preempt"))
    [device] = await scheduler.rows("SELECT device_id FROM scheduler.device WHERE coming_at IS NOT NULL")
    assert device["device_id"] == freed


async def test_nobody_makes_way_for_an_equal_or_where_it_would_not_help(scheduler: Scheduler) -> None:
    await at_work(scheduler, priority="high")
    await scheduler.hears(facts.submitted(job_id="equal", priority="high"))
    await scheduler.hears(facts.offered(device_id="tiny", offer_id="tiny", memory_bytes=1))
    assert await scheduler.told(JobStopping) == []


async def test_a_job_on_its_way_to_a_pause_serves_the_one_that_waits(scheduler: Scheduler) -> None:
    await at_work(scheduler, priority="low")
    await scheduler.hears(facts.pause_asked(), facts.submitted(job_id="urgent", priority="high"))
    assert [each.why for each in await scheduler.told(JobStopping)] == ["pause"]


# --- any order ---


class Trainer:
    """Does as the trainer would with what the scheduler tells: declines, finishes, fails, or stops when asked."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.holds: dict[str, JobDispatched] = {}
        self.called_off: set[str] = set()
        self.seen: set[str] = set()

    def hears(self, order: JobDispatched | JobStopping) -> list[Event]:
        about = {"tenant": order.tenant, "job_id": order.job_id}
        if isinstance(order, JobStopping):
            self.called_off.add(order.offer_id)
            return []
        self.seen.add(order.offer_id)
        if order.offer_id in self.called_off or self.dice.random() < 0.2:
            return [facts.declined(order.run_id, **about)]
        self.holds[order.offer_id] = order
        return [facts.started(order.run_id, **about)]

    def works(self) -> list[tuple[str, Event]]:
        """End a stay on a device, as asked or by itself; return the device and what is told."""
        if not self.holds:
            return []
        held = self.holds.pop(self.dice.choice(sorted(self.holds)))
        about = {"tenant": held.tenant, "job_id": held.job_id}
        if held.offer_id in self.called_off and self.dice.random() < 0.8:
            return [(held.device_id, facts.paused(held.run_id, **about))]
        ending = self.dice.choice([facts.finished, facts.finished, facts.failed])
        return [(held.device_id, ending(held.run_id, **about))]


@pytest.mark.parametrize("seed", range(15))
async def test_wishes_in_any_order_and_twice_lead_to_one_end_and_none_is_lost(scheduler: Scheduler, seed: int) -> None:
    """Six jobs of two tenants, two devices, wishes to pause, resume and cancel; facts shuffled and doubled."""
    dice = random.Random(seed)
    trainer = Trainer(dice)
    pending: list[tuple[str, Event]] = []
    heard: Counter[str] = Counter()

    def tell(*told: Event) -> None:
        pending.extend((new_id("evt"), fact) for fact in told)

    def offer(device: str) -> None:
        tell(facts.offered(device_id=device, offer_id=new_id("offer"), version=_version()))

    jobs = [(tenant, f"job-{n}") for tenant in ("acme", "zenith") for n in range(3)]
    for tenant in ("acme", "zenith"):
        tell(facts.ready(tenant=tenant))
    for tenant, job_id in jobs:
        tell(facts.submitted(tenant=tenant, job_id=job_id, priority=dice.choice(["high", "medium", "low"])))
        for version in range(2, 2 + dice.randrange(5)):
            wish = dice.choice([facts.pause_asked, facts.resume_asked])
            tell(wish(version, tenant=tenant, job_id=job_id))
        if dice.random() < 0.1:
            tell(facts.cancel_asked(tenant=tenant, job_id=job_id))
    offer("cpu-0")
    offer("cpu-1")
    for closing in (False, True):
        if closing:
            for tenant, job_id in jobs:
                tell(facts.resume_asked(99, tenant=tenant, job_id=job_id))
        while pending or trainer.holds:
            if pending and dice.random() < 0.8:
                identity, fact = pending.pop(dice.randrange(len(pending)))
                await scheduler.hears(fact, identity=identity)
                if dice.random() < 0.3:
                    pending.append((identity, fact))
            for kind in (JobDispatched, JobStopping):
                told = await scheduler.told(kind)
                for order in told[heard[kind.__name__] :]:
                    answers = trainer.hears(order)
                    tell(*answers)
                    if any(isinstance(each, facts.DispatchDeclined) for each in answers):
                        offer(order.device_id)  # type: ignore[attr-defined]
                heard[kind.__name__] = len(told)
            if dice.random() < 0.4:
                for device, ending in trainer.works():
                    tell(ending)
                    offer(device)
    told_ends = [end for kind in ENDS for end in await scheduler.told(kind)]
    assert Counter((end.tenant, end.job_id) for end in told_ends) == dict.fromkeys(jobs, 1)


async def test_a_pause_a_finish_and_a_resume_at_the_same_moment_end_it_once_or_leave_it_as_wished(
    pair: list[Scheduler],
) -> None:
    await pair[0].hears(facts.ready())
    for n in range(40):
        await pair[0].hears(
            facts.submitted(job_id=f"job-{n}"), facts.offered(device_id=f"cpu-{n}", offer_id=f"offer-{n}")
        )
    racing: list[Event] = []
    for each in await pair[0].told(JobDispatched):
        about = {"job_id": each.job_id}
        racing += random.Random(each.job_id).sample(
            [facts.finished(each.run_id, **about), facts.pause_asked(2, **about), facts.resume_asked(3, **about)], 3
        )

    async def work(scheduler: Scheduler) -> None:
        while racing:
            await scheduler.hears(racing.pop())

    await asyncio.gather(*(work(pair[n % 2]) for n in range(8)))
    ends = Counter([end.job_id for kind in ENDS for end in await pair[0].told(kind)])
    assert ends == {f"job-{n}": 1 for n in range(40)}


async def test_the_urgent_get_their_devices_also_when_everything_happens_at_once(pair: list[Scheduler]) -> None:
    await pair[0].hears(facts.ready())
    for n in range(20):
        await pair[0].hears(
            facts.submitted(job_id=f"low-{n}", priority="low"), facts.offered(device_id=f"c-{n}", offer_id=f"o-{n}")
        )
    pending: list[Event] = [facts.submitted(job_id=f"high-{n}", priority="high") for n in range(20)]
    for each in await pair[0].told(JobDispatched):
        pending.append(facts.started(each.run_id, job_id=each.job_id))
    random.Random(5).shuffle(pending)

    async def work(scheduler: Scheduler) -> None:
        while pending:
            await scheduler.hears(pending.pop())

    await asyncio.gather(*(work(pair[n % 2]) for n in range(8)))
    orders = await pair[0].told(JobStopping)
    assert len({order.job_id for order in orders}) == len(orders) == 20
