"""Everything the scheduler reacts to, in the order of a job's life.

A reaction is one transaction. Those that add a job or a device to match see every tenant's rows
(``across_tenants``), because the queue is one for all; the others see only their own tenant's.
"""

from contracts.budgets import BudgetSet
from contracts.datasets import DatasetReady, DatasetRefused
from contracts.jobs import (
    EstimateJob,
    JobCancelAsked,
    JobCancelled,
    JobEstimated,
    JobFailed,
    JobPauseAsked,
    JobResumeAsked,
    JobSubmitted,
    JobSucceeded,
    model_name,
)
from contracts.runs import (
    DeviceOffered,
    DeviceWithdrawn,
    DispatchDeclined,
    LeaseGranted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunPaused,
    RunStarted,
)
from libs.bus import Router
from libs.db import Transaction
from libs.db.database import now
from services.scheduler import queries, queries_budgets, queries_devices, queries_matching, spending, steps
from services.scheduler.domain.estimate import Rate
from services.scheduler.domain.job_states import State

router = Router("scheduler")


@router.answers(EstimateJob)
async def foretell(question: EstimateJob, tx: Transaction, rate: Rate) -> JobEstimated:
    """Say what a job would take if it were submitted now."""
    plan = await steps.estimated(tx, question, rate)
    return JobEstimated(recipe=plan.recipe, estimate=plan.estimate)


@router.on(JobSubmitted, across_tenants=True)
async def take_in(wish: JobSubmitted, tx: Transaction, rate: Rate) -> None:
    """A person asked for a model: write the wish down, and go on if its dataset is known already."""
    news = await queries.await_dataset(tx, wish.tenant, wish.dataset_id)
    if job := await queries.add_job(tx, wish, State.VALIDATING):
        await steps.go_on(tx, job, news, rate)
        await steps.match(tx, rate)


@router.on(DatasetReady, DatasetRefused, across_tenants=True)
async def hear_of_dataset(news: DatasetReady | DatasetRefused, tx: Transaction, rate: Rate) -> None:
    """A dataset can train, or never will: queue or end the jobs that waited to know."""
    await queries.keep_news(tx, news)
    for job in await queries.waiting_for_dataset(tx, news.tenant, news.dataset_id):
        await steps.go_on(tx, job, news, rate)
    await steps.match(tx, rate)


@router.on(DeviceOffered, across_tenants=True)
async def take_offer(offered: DeviceOffered, tx: Transaction, rate: Rate) -> None:
    """A device is idle: give it the job whose turn it is, or keep the offer until one comes."""
    await queries_devices.offer(tx, offered)
    await steps.match(tx, rate)


@router.on(DeviceWithdrawn)
async def forget_offer(gone: DeviceWithdrawn, tx: Transaction) -> None:
    """A device went away: dispatch nothing to it any more."""
    await queries_devices.withdraw(tx, gone)


@router.on(DispatchDeclined, RunPaused, across_tenants=True)
async def come_back(fact: DispatchDeclined | RunPaused, tx: Transaction, rate: Rate) -> None:
    """The job has no device, or none any more: it keeps its place in the queue and may have the next one, or waits."""
    await queries_matching.hold_matching(tx)
    await steps.come_back(tx, fact, rate)
    if isinstance(fact, RunPaused):
        await spending.charge(tx, fact, rate)
    await steps.match(tx, rate)


@router.on(JobPauseAsked)
async def pause(asked: JobPauseAsked, tx: Transaction) -> None:
    """A person wants the job to wait, and its device for somebody else."""
    await steps.pause(tx, asked)


@router.on(JobResumeAsked, across_tenants=True)
async def resume(asked: JobResumeAsked, tx: Transaction, rate: Rate) -> None:
    """A person wants the job to go on."""
    await steps.resume(tx, asked, rate)


@router.on(LeaseGranted, across_tenants=True)
async def follow_lease(lease: LeaseGranted, tx: Transaction, rate: Rate) -> None:
    """A run that recovers took a device: a more urgent job that waited for this one needs another to make way."""
    await queries_matching.hold_matching(tx)
    if await queries.move(tx, lease) and await queries_devices.taken_again(tx, lease.device_id):
        await steps.match(tx, rate)


@router.on(RunStarted)
async def note_start(run: RunStarted, tx: Transaction) -> None:
    """The job is at work on its device."""
    await steps.follow(tx, run)


@router.on(RunFinished)
async def succeed(run: RunFinished, tx: Transaction, rate: Rate) -> None:
    """An adapter is in storage: name the model, say what it cost, and estimate better from now on."""
    if job := await steps.follow(tx, run):
        await tx.tell(
            JobSucceeded(
                tenant=run.tenant,
                at=now(),
                job_id=run.job_id,
                run_id=run.run_id,
                model=model_name(run.base_model, run.tenant, job.wish.suffix, run.job_id),
                trained_tokens=run.trained_tokens,
                seconds=run.train_seconds,
                cost=rate.bill(run.device_seconds - run.rented_seconds, run.rent),
                interruptions=run.interruptions,
                device_rate=rate.per_hour,
                lost_steps=run.lost_steps,
                lost_seconds=run.lost_seconds,
            )
        )
        await steps.learn_from(tx, job, run)
    await spending.charge(tx, run, rate)


@router.on(RunFailed)
async def give_up(run: RunFailed, tx: Transaction, rate: Rate) -> None:
    """Training cannot succeed: end the job with the trainer's own words."""
    if await steps.follow(tx, run):
        await tx.tell(
            JobFailed(
                tenant=run.tenant,
                at=now(),
                job_id=run.job_id,
                reason=run.reason,
                message=run.message,
                fix=run.fix,
                remedy=run.remedy,
            )
        )
    await spending.charge(tx, run, rate)


@router.on(JobCancelAsked)
async def cancel(asked: JobCancelAsked, tx: Transaction) -> None:
    """A person wants the job to end, perhaps before its wish arrived here: whoever holds its device hears it too."""
    job = None
    if await queries.add_cancelled(tx, asked) or (job := await steps.follow(tx, asked)):
        offer_id = job.offer_id if job and job.offer_id else ""
        await tx.tell(JobCancelled(tenant=asked.tenant, at=now(), job_id=asked.job_id, offer_id=offer_id))


@router.on(RunCancelled)
async def pay_for_nothing(run: RunCancelled, tx: Transaction, rate: Rate) -> None:
    """A run that nobody wanted any more has let its device go: what it cost until then is owed."""
    await spending.charge(tx, run, rate)


@router.on(BudgetSet, across_tenants=True)
async def limit_spending(wish: BudgetSet, tx: Transaction, rate: Rate) -> None:
    """An organisation says what a month may cost: from now on no device is given away beyond it."""
    await queries_matching.hold_matching(tx)
    await queries_budgets.set_limit(tx, wish)
    await spending.say(tx, wish.tenant, rate)
    await steps.match(tx, rate)
