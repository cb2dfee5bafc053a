"""What an organisation may spend in a month: no device beyond it, however many ask; one word at each threshold."""

import asyncio
from typing import Any

from contracts.budgets import BudgetMoved, BudgetThresholdReached
from contracts.jobs import JobDispatched, Overrides
from libs.db.database import now
from services.scheduler.domain.estimate import Rate
from services.scheduler.waking import Waker
from tests.integration.scheduler.house import Scheduler
from tests.unit.scheduler import facts


def submitted(job_id: str, budget: float | None = None, **changes: Any) -> Any:
    return facts.submitted(job_id=job_id, overrides=Overrides(budget=budget), **changes)


def offered(number: int, **changes: Any) -> Any:
    return facts.offered(device_id=f"cpu-{number}", offer_id=f"offer-{number}", **changes)


async def dispatched(scheduler: Scheduler) -> dict[str, float]:
    """Return what each job that has a device may cost."""
    return {each.job_id: each.budget for each in await scheduler.told(JobDispatched)}


async def test_of_jobs_that_come_at_once_only_those_get_a_device_that_the_month_pays_for(
    pair: list[Scheduler],
) -> None:
    one, other = pair
    await one.hears(facts.budget(1.0), facts.ready())
    await asyncio.gather(
        *(pair[n % 2].hears(submitted(f"job-{n}", 0.4)) for n in range(6)),
        *(pair[n % 2].hears(offered(n)) for n in range(6)),
    )
    given = await dispatched(one)
    assert sorted(round(money, 6) for money in given.values()) == [0.2, 0.4, 0.4]
    assert (await other.told(BudgetMoved))[-1].held == 1.0
    await other.hears(submitted("rivals", tenant="rival"), facts.ready(tenant="rival"))
    assert (await dispatched(one))["rivals"] == 0.0
    assert await one.told(BudgetThresholdReached) == []


async def test_what_a_job_did_not_need_lets_the_next_one_go_on(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.budget(0.02), facts.ready(), submitted("ftjob-1", 0.02), offered(1))
    await scheduler.hears(submitted("next", 0.02), offered(2))
    [first] = await scheduler.told(JobDispatched)
    await scheduler.hears(facts.finished(first.run_id, at=now()))
    assert list(await dispatched(scheduler)) == ["ftjob-1"]
    await Waker(scheduler.database, Rate(per_hour=0.06, currency="USD")).look()
    spent = round(140 / 3600 * 0.06, 6)
    assert (await dispatched(scheduler))["next"] == round(0.02 - spent, 6)
    moved = (await scheduler.told(BudgetMoved))[-1]
    assert (moved.spent, moved.held, moved.used_up) == (spent, round(0.02 - spent, 6), False)


async def test_every_end_is_paid_for_once_with_its_rent_and_each_threshold_is_told_once(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.budget(1.0), facts.ready())
    ends = (facts.failed, facts.cancelled, facts.paused, facts.finished)
    for number, end in enumerate(ends):
        await scheduler.hears(facts.submitted(job_id=f"job-{number}"), offered(number))
        run = (await scheduler.told(JobDispatched))[-1].run_id
        if end is facts.cancelled:
            await scheduler.hears(facts.cancel_asked(job_id=f"job-{number}"))
        fact = end(run, job_id=f"job-{number}", at=now(), device_seconds=60.0, rented_seconds=60.0, rent=0.3)
        await scheduler.hears(fact, fact)
    assert [(each.percent, each.spent) for each in await scheduler.told(BudgetThresholdReached)] == [
        (50, 0.6), (80, 0.9), (100, 1.2),
    ]  # fmt: skip
    assert (await scheduler.told(BudgetMoved))[-1].used_up
    await scheduler.hears(submitted("late"), offered(9))
    assert "late" not in await dispatched(scheduler)
    await scheduler.hears(facts.budget(2.0, version=2))
    assert "late" in await dispatched(scheduler)


async def test_a_run_that_comes_back_may_cost_what_it_has_cost_and_what_is_left(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.budget(1.0), facts.ready(), submitted("ftjob-1", 0.5), offered(1))
    [first] = await scheduler.told(JobDispatched)
    paused = facts.paused(first.run_id, at=now(), device_seconds=60.0, rented_seconds=60.0, rent=0.1, why="preempt")
    await scheduler.hears(facts.pause_asked(), paused, facts.resume_asked())
    await scheduler.hears(facts.budget(0.3, version=2), offered(2))
    again = (await scheduler.told(JobDispatched))[-1]
    assert (again.run_id, again.budget) == (first.run_id, 0.3)


async def test_what_was_spent_before_there_was_a_budget_counts_and_jobs_of_last_month_do_not(
    scheduler: Scheduler,
) -> None:
    await scheduler.hears(facts.ready(), submitted("old"), offered(1), submitted("ftjob-1"), offered(2))
    runs = [each.run_id for each in await scheduler.told(JobDispatched)]
    long_ago = facts.AT.replace(year=2020)
    for job, run, at in zip(("old", "ftjob-1"), runs, (long_ago, now()), strict=True):
        await scheduler.hears(facts.failed(run, job_id=job, at=at, rented_seconds=12.0, rent=0.25))
    assert await scheduler.told(BudgetMoved) == []
    await scheduler.hears(facts.budget(1.0))
    assert (await scheduler.told(BudgetMoved))[-1].spent == 0.25
