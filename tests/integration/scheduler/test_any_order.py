"""Whatever the order, however often repeated, whoever works at the same moment: one end, told once."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from itertools import permutations

import pytest

from contracts.base import Event, new_id
from contracts.jobs import JobCancelled, JobDispatched, JobFailed, JobQueued, JobSucceeded
from tests.integration.scheduler.house import Scheduler
from tests.unit.scheduler import facts

SOMEBODY_WAITS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"

ENDS = (JobSucceeded, JobFailed, JobCancelled)


async def ends(scheduler: Scheduler) -> Counter[str]:
    """Count the ends told, by tenant and job."""
    told = [end for kind in ENDS for end in await scheduler.told(kind)]
    return Counter(f"{end.tenant}/{end.job_id}" for end in told)


async def all_at_once(pair: list[Scheduler], told: Iterable[Event], hands: int = 8) -> None:
    """Let both schedulers take these facts in, ``hands`` at a time."""
    pending = list(told)

    async def work(scheduler: Scheduler) -> None:
        while pending:
            await scheduler.hears(pending.pop())

    await asyncio.gather(*(work(pair[n % 2]) for n in range(hands)))


async def test_every_order_of_the_first_facts_leads_to_the_same_dispatch(scheduler: Scheduler) -> None:
    for number, order in enumerate(permutations(("wish", "data", "device"))):
        tenant = f"tenant-{number}"
        first = {
            "wish": facts.submitted(tenant=tenant),
            "data": facts.ready(tenant=tenant),
            "device": facts.offered(device_id=f"cpu-{number}", offer_id=f"offer-{number}"),
        }
        await scheduler.hears(*(first[name] for name in order), *(first[name] for name in order))
        last = (await scheduler.told(JobDispatched))[-1]
        assert (last.tenant, last.device_id) == (tenant, f"cpu-{number}"), order
    assert len(await scheduler.told(JobDispatched)) == 6


@pytest.mark.parametrize("seed", range(25))
async def test_a_bus_that_reorders_and_repeats_never_ends_a_job_twice_or_never(scheduler: Scheduler, seed: int) -> None:
    """Six jobs of two tenants, two devices, a trainer that declines, fails and finishes; facts shuffled and doubled."""
    dice = random.Random(seed)
    pending: list[tuple[str, Event]] = []
    answered: set[str] = set()
    versions = Counter[str]()

    def tell(*told: Event) -> None:
        pending.extend((new_id("evt"), fact) for fact in told)

    def offer(device: str) -> None:
        versions[device] += 1
        tell(facts.offered(device_id=device, offer_id=new_id("offer"), version=versions[device]))

    def answer(dispatch: JobDispatched) -> None:
        """Do as a trainer might: decline, be told to stop, fail or finish; the device is free again after."""
        about = {"tenant": dispatch.tenant, "job_id": dispatch.job_id}
        started = facts.started(dispatch.run_id, **about)
        ending = dice.choice(
            [[facts.declined(dispatch.run_id, **about)]]
            + [[started, facts.failed(dispatch.run_id, **about)]]
            + [[started, facts.finished(dispatch.run_id, **about)]] * 3
        )
        tell(*ending)
        offer(dispatch.device_id)

    for tenant in ("acme", "zenith"):
        tell(dice.choice([facts.ready, facts.ready, facts.refused])(tenant=tenant))
        for n in range(3):
            tell(facts.submitted(tenant=tenant, job_id=f"job-{n}", priority=dice.choice(["high", "low"])))
            if dice.random() < 0.3:
                tell(facts.cancel_asked(tenant=tenant, job_id=f"job-{n}"))
    offer("cpu-0")
    offer("cpu-1")
    while pending:
        identity, fact = pending.pop(dice.randrange(len(pending)))
        await scheduler.hears(fact, identity=identity)
        if dice.random() < 0.3:
            pending.append((dice.choice([identity, new_id("evt")]), fact))
        for dispatch in await scheduler.told(JobDispatched):
            if dispatch.run_id not in answered:
                answered.add(dispatch.run_id)
                answer(dispatch)
    assert await ends(scheduler) == {f"{tenant}/job-{n}": 1 for tenant in ("acme", "zenith") for n in range(3)}


async def test_two_schedulers_give_no_job_and_no_offer_away_twice(pair: list[Scheduler]) -> None:
    await pair[0].hears(facts.ready())
    both = [facts.submitted(job_id=f"job-{n}") for n in range(200)]
    both += [facts.offered(device_id=f"cpu-{n}", offer_id=f"offer-{n}") for n in range(200)]
    random.Random(1).shuffle(both)
    await all_at_once(pair, both)
    told = await pair[0].told(JobDispatched)
    assert len({each.job_id for each in told}) == len({each.offer_id for each in told}) == len(told) == 200


async def test_a_wish_and_the_news_of_its_dataset_at_the_same_moment_find_each_other(pair: list[Scheduler]) -> None:
    both: list[Event] = []
    for n in range(100):
        meeting = [facts.submitted(job_id=f"job-{n}", dataset_id=f"set-{n}"), facts.ready(dataset_id=f"set-{n}")]
        both += random.Random(n).sample(meeting, 2)
    await all_at_once(pair, both)
    assert len(await pair[0].told(JobQueued)) == 100


async def test_a_wish_and_its_cancellation_at_the_same_moment_end_it_once(pair: list[Scheduler]) -> None:
    await pair[0].hears(facts.ready())
    both: list[Event] = []
    for n in range(100):
        meeting = [facts.submitted(job_id=f"job-{n}"), facts.cancel_asked(job_id=f"job-{n}")]
        both += random.Random(n).sample(meeting, 2)
    await all_at_once(pair, both)
    assert await ends(pair[0]) == {f"acme/job-{n}": 1 for n in range(100)}


async def test_finish_failure_and_cancellation_at_the_same_moment_end_it_once(pair: list[Scheduler]) -> None:
    await pair[0].hears(facts.ready())
    for n in range(60):
        await pair[0].hears(
            facts.submitted(job_id=f"job-{n}"), facts.offered(device_id=f"cpu-{n}", offer_id=f"offer-{n}")
        )
    racing: list[Event] = []
    for each in await pair[0].told(JobDispatched):
        meeting = [
            facts.finished(each.run_id, job_id=each.job_id),
            facts.failed(each.run_id, job_id=each.job_id),
            facts.cancel_asked(job_id=each.job_id),
        ]
        racing += random.Random(each.job_id).sample(meeting, 3)
    await all_at_once(pair, racing)
    assert await ends(pair[0]) == {f"acme/job-{n}": 1 for n in range(60)}


async def test_runs_that_finish_together_are_all_learned_from(pair: list[Scheduler]) -> None:
    await pair[0].hears(facts.ready())
    for n in range(20):
        await pair[0].hears(
            facts.submitted(job_id=f"job-{n}"), facts.offered(device_id=f"cpu-{n}", offer_id=f"offer-{n}")
        )
    told = await pair[0].told(JobDispatched)
    await all_at_once(pair, [facts.finished(each.run_id, job_id=each.job_id) for each in told])
    assert await pair[0].rows("SELECT runs FROM scheduler.calibration") == [{"runs": 20}]


async def test_a_job_and_a_device_that_arrive_at_the_same_moment_meet(pair: list[Scheduler]) -> None:
    """The second to match waits for the first to commit, else each would overlook the other and both wait for ever."""
    await pair[0].hears(facts.ready())
    async with pair[0].reacting_to(facts.submitted()):
        offer = asyncio.create_task(pair[1].hears(facts.offered()))
        while not (offer.done() or await pair[0].rows(SOMEBODY_WAITS)):
            await asyncio.sleep(0)
    await offer
    assert len(await pair[0].told(JobDispatched)) == 1
