"""The steps of a job's life that several facts lead to: each writes a move and tells it.

A handler says *when*; here stands *how*. Everything happens in the handler's transaction.
"""

from msgspec.structs import replace

from contracts.base import new_id
from contracts.datasets import DatasetReady, DatasetRefused
from contracts.jobs import (
    EstimateJob,
    JobCancelAsked,
    JobDispatched,
    JobFailed,
    JobPauseAsked,
    JobPaused,
    JobQueued,
    JobResumeAsked,
    JobResumed,
    JobStopping,
    Remedy,
)
from contracts.recipes import Recipe
from contracts.runs import DeviceOffered, DispatchDeclined, RunFailed, RunFinished, RunPaused, RunStarted
from libs.db import Transaction
from libs.db.database import now
from libs.errors import Conflict, Rejected
from services.scheduler import (
    queries,
    queries_budgets,
    queries_devices,
    queries_estimates,
    queries_matching,
    spending,
)
from services.scheduler.domain.budget import Purses, allowed, to_hold
from services.scheduler.domain.estimate import Calibration, Data, Device, Observed, Rate, learn
from services.scheduler.domain.job import Given, Job, News, Queued
from services.scheduler.domain.job_states import HOPELESS, ON_DEVICE, Move, State, move_on
from services.scheduler.domain.money import MILLION
from services.scheduler.domain.plan import Plan, not_quantised, plan, planned_again, too_dear, too_large
from services.scheduler.domain.queue import making_way, more_urgent_than, turns
from services.scheduler.domain.recipe import for_data, refusal_of, wished, wrong_kind
from services.scheduler.domain.remedies import MEND, instead, other_data, other_settings


async def go_on(tx: Transaction, job: Job, news: News | None, rate: Rate) -> None:
    """Take a job as far as its recipe and the news of its dataset allow: ended, queued, or waiting for news."""
    if (refusal := refusal_of(job.wish)) and (move := move_on(job.state, job.wish)):
        await fail(tx, job, move, refusal.code, refusal.message, other_settings(refusal))
    elif isinstance(news, DatasetRefused) and (move := move_on(job.state, news)):
        await fail(tx, job, move, news.code, news.message, other_data(news))
    elif isinstance(news, DatasetReady) and (move := move_on(job.state, news)):
        await queue(tx, job, move, news, rate)


async def fail(tx: Transaction, job: Job, move: Move, reason: str, message: str, remedy: Remedy) -> None:
    """End a job that cannot be trained as it is."""
    await queries.enter(tx, job, move.target)
    await tx.tell(
        JobFailed(
            tenant=job.tenant,
            at=now(),
            job_id=job.job_id,
            reason=reason,
            message=message,
            fix=remedy.sentence,
            remedy=remedy,
        )
    )


async def queue(tx: Transaction, job: Job, move: Move, ready: DatasetReady, rate: Rate) -> None:
    """Put a job where its age and priority belong, with what it will take on the device it is likely to get.

    One that comes for the first time fails if its method does not learn from such data, if no device there ever was
    could hold it and it can be made smaller, or if its budget pays for nothing.
    """
    asked = job.asked or for_data(wished(job.wish), job.wish.overrides, ready.train_examples)
    if not job.asked and (refusal := wrong_kind(asked, ready.format)):
        return await fail(tx, job, HOPELESS, refusal.code, refusal.message, instead(refusal))
    likely = await planned_for(tx, job, asked, ready, await queries_devices.likely_device(tx, asked.needs), rate)
    if not job.asked and (refusal := await _hopeless(tx, likely, job.wish.overrides.budget)):
        return await fail(tx, job, HOPELESS, refusal.code, refusal.message, instead(refusal))
    await queries.queue(tx, job, move.target, asked, likely.estimate.memory_bytes)
    await tx.tell(
        JobQueued(tenant=job.tenant, at=now(), job_id=job.job_id, recipe=likely.recipe, estimate=likely.estimate)
    )
    return None


async def come_back(tx: Transaction, fact: DispatchDeclined | RunPaused, rate: Rate) -> None:
    """Take a job without its device: to its place in the queue, or out of it where a person wants it paused.

    Whoever calls this holds the matching, so that no job is paused while somebody gives it a device.
    """
    job = await queries.job(tx, fact.tenant, fact.job_id)
    move = move_on(job.state, fact, job.run_id) if job else None
    if job is None or move is None:
        return
    if isinstance(fact, RunPaused):
        await queries.set_begun(tx, job)
        await queries_devices.let_go(tx, job)
        job = replace(job, begun=True)
    if move.target is State.PAUSED:
        await queries.enter(tx, job, move.target)
        await tx.tell(JobPaused(tenant=job.tenant, at=now(), job_id=job.job_id))
    else:
        await queue(tx, job, move, await _ready(tx, job), rate)


async def pause(tx: Transaction, asked: JobPauseAsked) -> None:
    """Hold a job back: at once where it waits, else as soon as its run has let the device go."""
    await queries_matching.hold_matching(tx)
    state = await queries.hear_wish(tx, asked)
    move = move_on(state, asked) if state else None
    if move is None:
        return
    await queries.enter(tx, asked, move.target)
    if move.target is State.PAUSED:
        await tx.tell(JobPaused(tenant=asked.tenant, at=now(), job_id=asked.job_id))
    elif job := await queries.job(tx, asked.tenant, asked.job_id):
        await tx.tell(_stopping(job, "pause"))


async def resume(tx: Transaction, asked: JobResumeAsked, rate: Rate) -> None:
    """Let a paused job go on with what is known of its dataset; one that still holds its device comes back first."""
    state = await queries.hear_wish(tx, asked)
    move = move_on(state, asked) if state else None
    if move is None:
        return
    await queries.enter(tx, asked, move.target)
    job = await queries.job(tx, asked.tenant, asked.job_id)
    waits = State.QUEUED if job and job.asked else State.VALIDATING
    await tx.tell(JobResumed(tenant=asked.tenant, at=now(), job_id=asked.job_id, status=waits))
    if job and move.target is State.VALIDATING:
        await go_on(tx, job, await queries.await_dataset(tx, job.tenant, job.wish.dataset_id), rate)
        await match(tx, rate)


async def match(tx: Transaction, rate: Rate) -> None:
    """Give each device on offer the job whose turn it is; let less urgent jobs make way for those left without.

    Whoever adds a job or an offer calls this afterwards. Only one matches at a time, so of a job
    and an offer that arrive together the later transaction sees both, and none is given away twice.
    """
    await queries_matching.hold_matching(tx)
    purses = Purses(await queries_budgets.purses(tx, await queries_budgets.limits(tx), now(), rate))
    while await _give(tx, purses, rate):
        """Somebody's money ran out while devices were given away: those go to others."""
    await make_way(tx, purses.short())


async def _give(tx: Transaction, purses: Purses, rate: Rate) -> bool:
    """Give devices to the jobs at the head of the queue. ``True``: for one of them no money was left."""
    offers = await queries_devices.open_offers(tx)
    if not offers:
        return False
    kinds = {(offer.memory_bytes, offer.features): offer for offer in offers}
    heads = {
        (job.tenant, job.job_id): job
        for _, device in sorted(kinds.items())
        for job in await queries_matching.heads(tx, device, len(offers), purses.short())
    }
    return await dispatch(tx, [(offers[index], job) for index, job in turns(heads.values(), offers)], purses, rate)


async def make_way(tx: Transaction, short: list[str]) -> None:
    """Tell the least urgent jobs to let their devices go, one for each more urgent job that nothing else serves.

    Nobody makes way for those who are ``short`` of money.
    """
    if not await queries_matching.somebody_urgent(tx):
        return
    at_work, letting_go = await queries_matching.on_device(tx)
    coming = letting_go + await queries_devices.coming(tx)
    above = more_urgent_than(each.priority for each in at_work)
    urgent = await queries_matching.urgent(tx, above, len(at_work) + len(coming), short)
    for chosen in making_way(urgent, at_work, coming):
        job = await queries.job(tx, chosen.tenant, chosen.job_id)
        if job and (move := move_on(job.state, stopping := _stopping(job, "preempt"))):
            await queries.enter(tx, job, move.target)
            await tx.tell(stopping)


async def dispatch(tx: Transaction, pairs: list[tuple[DeviceOffered, Queued]], purses: Purses, rate: Rate) -> bool:
    """Give jobs at the head of the queue, locked, the devices on offer: all of them in the same few statements.

    ``True``: a job was left out because those before it hold what was left of its organisation's money.
    """
    if not pairs:
        return False
    known = await queries_estimates.calibrations(tx)
    given = []
    for offer, turn in pairs:
        if turn.tenant in purses.short():
            continue
        device = device_of(offer)
        assert turn.job.asked
        learned = known.get(queries_estimates.learned_under(turn.job.asked, device), Calibration())
        given.append(_given(turn, offer, device, learned, purses, rate))
    await queries_matching.dispatch(tx, given, State.DISPATCHED)
    await tx.tell_all([each.fact for each in given])
    for tenant in sorted({each.fact.tenant for each in given if purses.left(each.fact.tenant) is not None}):
        await spending.say(tx, tenant, rate)
    return len(given) < len(pairs)


def _given(
    turn: Queued, offer: DeviceOffered, device: Device, learned: Calibration, purses: Purses, rate: Rate
) -> Given:
    """Plan a job for the device it gets, within its own budget and the month's, and set aside what it may cost."""
    job, left = turn.job, purses.left(turn.tenant)
    assert job.asked
    own = job.wish.overrides.budget
    final = _fitted(job, job.asked, turn.ready, device, learned, rate, allowed(own, job.charged, left))
    held = 0 if left is None else to_hold(final.estimate, own, job.charged, left)
    purses.hold(turn.tenant, held)
    budget = (job.charged + held) / MILLION if held else own or 0.0
    return Given(_dispatched(turn, offer, final, budget), device, held)


async def follow(tx: Transaction, fact: JobCancelAsked | RunStarted | RunFinished | RunFailed) -> Job | None:
    """Move the job a fact is about as the table of states says. ``None``: the fact changes nothing."""
    job = await queries.job(tx, fact.tenant, fact.job_id)
    move = move_on(job.state, fact, job.run_id) if job else None
    if job is None or move is None:
        return None
    await queries.enter(tx, job, move.target)
    if job.state in ON_DEVICE and move.target not in ON_DEVICE:
        await queries_devices.let_go(tx, job)
    return job


async def learn_from(tx: Transaction, job: Job, run: RunFinished) -> None:
    """Let the next estimate profit from a run; an interrupted one, with time lost between, teaches nothing."""
    if run.interruptions or run.pauses or not (job.recipe and job.device):
        return
    observed = Observed(
        tokens=run.tokens,
        train_seconds=run.train_seconds,
        device_seconds=run.device_seconds,
        memory_bytes=run.memory_bytes,
    )
    known = await queries_estimates.hold_calibration(tx, job.recipe, job.device)
    learned = learn(known, observed, job.recipe, data_of(await _ready(tx, job)), job.device)
    await queries_estimates.keep_calibration(tx, job.recipe, job.device, learned)


async def estimated(tx: Transaction, question: EstimateJob, rate: Rate) -> Plan:
    """Plan a job nobody submitted yet; ``Rejected`` says what is wrong with it, ``Conflict`` that data is missing."""
    recipe = wished(question)
    news = await queries.news(tx, question.tenant, question.dataset_id)
    if isinstance(news, DatasetRefused):
        raise Rejected(f"The dataset cannot train: {news.message}", code=news.code, field="dataset_id", fix=MEND)
    if news is None:
        raise Conflict(
            f"The dataset {question.dataset_id} is not ready, so its size is not known. Ask again when it is ready.",
            code="dataset_not_ready",
            field="dataset_id",
        )
    asked = for_data(recipe, question.overrides, news.train_examples)
    if refusal := wrong_kind(asked, news.format):
        raise refusal
    device, budget = await queries_devices.likely_device(tx, asked.needs), question.overrides.budget
    learned = await queries_estimates.calibration(tx, asked, device)
    found = plan(asked, data_of(news), device, learned, rate, budget)
    if refusal := await _hopeless(tx, found, budget):
        raise refusal
    return found


async def _hopeless(tx: Transaction, found: Plan, budget: float | None) -> Rejected | None:
    """Return why a plan can be carried out on no device there ever was, or for no money that may be spent."""
    return (
        not_quantised(found.recipe, await queries_devices.understood(tx))
        or too_large(found, await queries_devices.largest_memory(tx))
        or too_dear(found, budget)
    )


def data_of(ready: DatasetReady) -> Data:
    """Keep of a dataset what an estimate rests on."""
    return Data(train_examples=ready.train_examples, train_tokens=ready.train_tokens)


async def planned_for(
    tx: Transaction, job: Job, asked: Recipe, ready: DatasetReady, device: Device, rate: Rate
) -> Plan:
    """Plan a job's next stay on a device: one that has begun keeps the recipe it began with."""
    learned = await queries_estimates.calibration(tx, asked, device)
    return _fitted(job, asked, ready, device, learned, rate, job.wish.overrides.budget)


def _fitted(
    job: Job,
    asked: Recipe,
    ready: DatasetReady,
    device: Device,
    learned: Calibration,
    rate: Rate,
    budget: float | None,
) -> Plan:
    if job.begun and job.recipe:
        return planned_again(job.recipe, data_of(ready), device, learned, rate)
    return plan(asked, data_of(ready), device, learned, rate, budget)


def device_of(offer: DeviceOffered) -> Device:
    """Keep of an offer what an estimate rests on."""
    return Device(
        kind=offer.kind,
        precision=offer.precision,
        memory_bytes=offer.memory_bytes,
        flops=offer.flops,
        features=offer.features,
        processor=offer.processor,
    )


async def _ready(tx: Transaction, job: Job) -> DatasetReady:
    """Return the dataset of a job that was queued, which only a ready one can be."""
    news = await queries.news(tx, job.tenant, job.wish.dataset_id)
    assert isinstance(news, DatasetReady)
    return news


def _stopping(job: Job, why: str) -> JobStopping:
    assert job.run_id
    assert job.offer_id
    return JobStopping(
        tenant=job.tenant, at=now(), job_id=job.job_id, run_id=job.run_id, offer_id=job.offer_id, why=why
    )


def _dispatched(turn: Queued, offer: DeviceOffered, final: Plan, budget: float) -> JobDispatched:
    job, ready = turn.job, turn.ready
    return JobDispatched(
        tenant=job.tenant,
        at=now(),
        job_id=job.job_id,
        run_id=job.run_id if job.begun and job.run_id else new_id("run"),
        offer_id=offer.offer_id,
        device_id=offer.device_id,
        recipe=final.recipe,
        estimate=final.estimate,
        dataset_id=ready.dataset_id,
        dataset_digest=ready.digest,
        dataset_uri=ready.uri,
        budget=budget,
    )
