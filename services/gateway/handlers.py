"""Everything the gateway hears, in a job's order: what each fact changes in the read models people see.

Every fact writes its own columns and its line of the story, whenever it arrives. Only status, stages
and plans depend on the order; they are written by the newest fact of each aggregate. That is looked up
first, always before the job's row is locked, so that two gateways never wait for each other in a circle.
"""

import asyncio

from contracts import budgets, datasets, evaluations, jobs, notices, people, runs, trackers, webhooks
from contracts.base import Event, type_of
from contracts.catalogue import BY_TYPE
from libs.bus import Router
from libs.db import Database, Transaction
from libs.errors import NotFound
from services.gateway.domain import sessions, statuses
from services.gateway.domain.naming import fact_id
from services.gateway.domain.recipients import reached_of
from services.gateway.domain.story import line_about
from services.gateway.domain.tracked import tracked_of
from services.gateway.domain.trackers import key_of
from services.gateway.progress import Progress
from services.gateway.queries import budgets as budget_queries
from services.gateway.queries import datasets as dataset_queries
from services.gateway.queries import evidence as evidence_queries
from services.gateway.queries import jobs as job_queries
from services.gateway.queries import members as member_queries
from services.gateway.queries import recipients as recipient_queries
from services.gateway.queries import results as result_queries
from services.gateway.queries import story as story_queries
from services.gateway.queries import trackers as tracker_queries
from services.gateway.queries import webhooks as webhook_queries
from services.gateway.sealing import slack_seal, wandb_seal
from services.gateway.settings import Settings

router = Router("gateway")

INVITATION = f"{people.INVITATION}:"
CAUGHT_UP_SECONDS = 5.0


@router.on(datasets.DatasetReady)
async def dataset_ready(fact: datasets.DatasetReady, tx: Transaction) -> None:
    """A file has become a version that can train: show its figures, and tell the jobs that wait for it."""
    if await _is_news(tx, fact):
        await dataset_queries.ready(tx, fact)
    await _tell_waiting_jobs(tx, fact, fact.dataset_id)


@router.on(datasets.DatasetRefused)
async def dataset_refused(fact: datasets.DatasetRefused, tx: Transaction) -> None:
    """A file cannot become a dataset: show every problem."""
    if await _is_news(tx, fact):
        await dataset_queries.refused(tx, fact)
    await _tell_waiting_jobs(tx, fact, fact.dataset_id)


@router.on(jobs.JobSubmitted)
async def job_submitted(fact: jobs.JobSubmitted, tx: Transaction) -> None:
    """The story begins."""
    await _tell(tx, fact, fact.job_id)


@router.on(jobs.JobQueued)
async def job_queued(fact: jobs.JobQueued, tx: Transaction) -> None:
    """The recipe is decided, and what it will take."""
    await _move(tx, fact, fact.job_id)
    await job_queries.planned(tx, fact)


@router.on(jobs.JobDispatched)
async def job_dispatched(fact: jobs.JobDispatched, tx: Transaction) -> None:
    """A run carries the job out."""
    await _move(tx, fact, fact.job_id)
    await job_queries.planned(tx, fact)
    await job_queries.dispatched(tx, fact)


@router.on(runs.DispatchDeclined)
async def dispatch_declined(fact: runs.DispatchDeclined, tx: Transaction) -> None:
    """The device was taken: the job waits again, as the scheduler says next."""
    await _tell(tx, fact, fact.job_id)


@router.on(runs.RunStarted)
async def run_started(fact: runs.RunStarted, tx: Transaction) -> None:
    """The training process is up."""
    await _tell(tx, fact, fact.job_id)


@router.on(runs.RunStageReached)
async def stage_reached(fact: runs.RunStageReached, tx: Transaction) -> None:
    """The run is a stage further."""
    await _reach(tx, fact)


@router.on(runs.CheckpointCommitted)
async def checkpoint_committed(fact: runs.CheckpointCommitted, tx: Transaction) -> None:
    """A state is safe: list it."""
    await story_queries.add_checkpoint(tx, fact_id("ftckpt", fact, fact.job_id), fact)
    await _tell(tx, fact, fact.job_id)


@router.on(runs.RunInterrupted)
async def run_interrupted(fact: runs.RunInterrupted, tx: Transaction) -> None:
    """The attempt was lost; the run goes on by itself."""
    await _keep(tx, fact, fact.job_id, f"interrupted ({fact.cause}), {fact.lost_steps} steps to repeat", fact.evidence)
    await _reach(tx, fact)


@router.on(runs.RunRecovered)
async def run_recovered(fact: runs.RunRecovered, tx: Transaction) -> None:
    """A new attempt trains again."""
    await _reach(tx, fact)
    await job_queries.recovered(tx, fact)


@router.on(runs.RunRemarked)
async def run_remarked(fact: runs.RunRemarked, tx: Transaction) -> None:
    """Something a person should know; the run goes on."""
    await _tell(tx, fact, fact.job_id)


@router.on(jobs.JobPauseAsked, jobs.JobResumeAsked)
async def wait_or_go_on_asked(fact: jobs.JobPauseAsked | jobs.JobResumeAsked, tx: Transaction) -> None:
    """Somebody wants the job to wait, or to go on."""
    await _tell(tx, fact, fact.job_id)


@router.on(jobs.JobStopping)
async def job_stopping(fact: jobs.JobStopping, tx: Transaction) -> None:
    """The run saves and lets its device go, for a person or for a more urgent job."""
    if await _is_news(tx, fact) and fact.why == "pause":
        await job_queries.set_status(tx, fact.job_id, "pausing")
    await _tell(tx, fact, fact.job_id)


@router.on(runs.RunPaused)
async def run_paused(fact: runs.RunPaused, tx: Transaction) -> None:
    """The device is free; the run goes on from its checkpoint when it gets one again."""
    await _reach(tx, fact)


@router.on(jobs.JobPaused)
async def job_paused(fact: jobs.JobPaused, tx: Transaction) -> None:
    """The job waits for somebody to resume it."""
    await _move(tx, fact, fact.job_id)


@router.on(jobs.JobResumed)
async def job_resumed(fact: jobs.JobResumed, tx: Transaction) -> None:
    """The job waits for its turn again."""
    if await _is_news(tx, fact):
        await job_queries.set_status(tx, fact.job_id, fact.status)
    await _tell(tx, fact, fact.job_id)


@router.on(runs.RunFinished)
async def run_finished(fact: runs.RunFinished, tx: Transaction, collecting: asyncio.Event) -> None:
    """The adapter is in storage: its files are to be listed."""
    await job_queries.set_adapter(tx, fact)
    await _tell(tx, fact, fact.job_id)
    tx.afterwards(collecting.set)


@router.on(runs.RunFailed)
async def run_failed(fact: runs.RunFailed, tx: Transaction) -> None:
    """Training cannot succeed; the scheduler ends the job."""
    await _keep(tx, fact, fact.job_id, f"failed ({fact.reason})", fact.evidence)
    await _tell(tx, fact, fact.job_id)


@router.on(jobs.JobCancelAsked)
async def cancel_asked(fact: jobs.JobCancelAsked, tx: Transaction) -> None:
    """Somebody wants the job to end."""
    await _tell(tx, fact, fact.job_id)


@router.on(runs.RunCancelled)
async def run_cancelled(fact: runs.RunCancelled, tx: Transaction) -> None:
    """The run stopped; the scheduler ends the job."""
    await _tell(tx, fact, fact.job_id)


@router.on(jobs.JobSucceeded)
async def job_succeeded(fact: jobs.JobSucceeded, tx: Transaction, collecting: asyncio.Event) -> None:
    """The hoped-for end: a model has a name, and its files are to be listed if they are not yet."""
    await _move(tx, fact, fact.job_id)
    await job_queries.succeeded(tx, fact)
    tx.afterwards(collecting.set)


@router.on(jobs.JobFailed)
async def job_failed(fact: jobs.JobFailed, tx: Transaction) -> None:
    """The job ended without a model, and why."""
    await _move(tx, fact, fact.job_id)
    await job_queries.failed(tx, fact)


@router.on(jobs.JobCancelled)
async def job_cancelled(fact: jobs.JobCancelled, tx: Transaction) -> None:
    """The job ended because somebody asked."""
    await _move(tx, fact, fact.job_id)
    await job_queries.cancelled(tx, fact.job_id, fact.at)


@router.on(jobs.ModelDeleted)
async def model_deleted(fact: jobs.ModelDeleted, tx: Transaction) -> None:
    """Somebody deleted what the job made."""
    await _tell(tx, fact, fact.job_id)


@router.on(evaluations.EvaluationStarted)
async def evaluation_started(fact: evaluations.EvaluationStarted, tx: Transaction) -> None:
    """The proof has begun."""
    await _prove(tx, fact, fact.job_id)


@router.on(evaluations.SuiteScored)
async def suite_scored(fact: evaluations.SuiteScored, tx: Transaction) -> None:
    """One suite has its verdict."""
    await _tell(tx, fact, fact.job_id)


@router.on(evaluations.ServingCompared)
async def serving_compared(fact: evaluations.ServingCompared, tx: Transaction) -> None:
    """The chat engine was held against the trained adapter: what differs is not offered."""
    if fact.remedy:
        await job_queries.withhold(tx, fact.job_id, fact.remedy)
    await _tell(tx, fact, fact.job_id)


@router.on(evaluations.ReportReady)
async def report_ready(fact: evaluations.ReportReady, tx: Transaction) -> None:
    """The report can be fetched, in three formats."""
    await _prove(tx, fact, fact.job_id)
    formats = (
        ("pdf", fact.pdf_uri, fact.pdf_sha256),
        ("html", fact.html_uri, fact.html_sha256),
        ("json", fact.json_uri, fact.json_sha256),
    )
    for format, uri, sha256 in formats:
        await result_queries.set_report(tx, fact.job_id, format, fact.evaluation_id, uri, sha256)
    await job_queries.set_verdict(tx, fact.job_id, fact.headline, fact.verdict)


@router.on(evaluations.EvaluationFailed)
async def evaluation_failed(fact: evaluations.EvaluationFailed, tx: Transaction) -> None:
    """The proof could not be made; the model is untouched."""
    await _prove(tx, fact, fact.job_id)


@router.on(budgets.BudgetMoved)
async def budget_moved(fact: budgets.BudgetMoved, tx: Transaction) -> None:
    """What a month has cost, and whether another job may be accepted."""
    await budget_queries.moved(tx, fact)


@router.on(notices.NoticeDelivered, notices.NoticeFailed)
async def notice_settled(fact: notices.NoticeDelivered | notices.NoticeFailed, tx: Transaction) -> None:
    """Somebody was told, or could not be; one about a month belongs to no job's story."""
    if fact.about.startswith(INVITATION):
        await _note_mailed(tx, fact)
    elif await job_queries.get(tx, fact.job_id):
        await _tell(tx, fact, fact.job_id)


@router.answers(notices.WhereToReach)
async def where_to_reach(asked: notices.WhereToReach, tx: Transaction, settings: Settings) -> notices.Reached:
    """Somebody is to be told: only here is their address known."""
    row = await recipient_queries.get(tx, asked.recipient_id)
    if row is None:
        raise NotFound("Nobody knows this recipient's address any more.")
    return reached_of(row, slack_seal(settings))


@router.answers(people.ReadInvitation)
async def read_invitation(asked: people.ReadInvitation, tx: Transaction, settings: Settings) -> people.InvitationRead:
    """Somebody is to be invited by mail: only here is their address known, and their invitation computed."""
    row = await member_queries.invitation(tx, asked.member_id, asked.number)
    if row is None:
        raise NotFound("This invitation was used or replaced, or is over.")
    secret = sessions.invitation(settings.key_pepper, asked.member_id, row["invite_seed"])
    return people.InvitationRead(email=row["email"], invitation=secret, until=row["invite_until"])


@router.on(trackers.TrackerRemarked)
async def tracker_remarked(fact: trackers.TrackerRemarked, tx: Transaction) -> None:
    """What a tracker shows is not all, or not yet."""
    await _tell(tx, fact, fact.job_id)


@router.answers(trackers.ReadTracked, slow=True)
async def read_tracked(
    asked: trackers.ReadTracked, db: Database, progress: Progress, settings: Settings
) -> trackers.Tracked:
    """A tracker is to be told: only here is it known what a person calls things, and what was measured."""
    async with db.transaction(asked.tenant) as tx:
        job = await job_queries.get(tx, asked.job_id)
    if job is None or job["wandb"] is None:
        raise NotFound("Nobody wished that a tracker shows this job.")
    over = statuses.is_final(job["status"]) and await progress.caught_up(CAUGHT_UP_SECONDS)
    async with db.transaction(asked.tenant) as tx:
        rows = await story_queries.metrics_after(tx, asked.job_id, asked.after, asked.limit + 1)
        key = key_of(await tracker_queries.key(tx), wandb_seal(settings))
    return tracked_of(job, rows, asked.limit, key=key, over=over)


@router.on(webhooks.WebhookDisabled)
async def webhook_disabled(fact: webhooks.WebhookDisabled, tx: Transaction) -> None:
    """An endpoint is not called any more: show it, and why."""
    await webhook_queries.disabled(tx, fact.webhook_id, fact.set_version, fact.reason)


async def _move(tx: Transaction, fact: Event, job_id: str) -> None:
    if await _is_news(tx, fact):
        await job_queries.set_status(tx, job_id, statuses.STATUS[type(fact)])
    await _tell(tx, fact, job_id)


async def _reach(
    tx: Transaction, fact: runs.RunStageReached | runs.RunInterrupted | runs.RunPaused | runs.RunRecovered
) -> None:
    if await _is_news(tx, fact):
        await job_queries.set_run_stage(tx, fact.job_id, fact.run_id, statuses.run_stage(fact))
    await _tell(tx, fact, fact.job_id)


async def _prove(tx: Transaction, fact: Event, job_id: str) -> None:
    if await _is_news(tx, fact):
        await job_queries.set_proof_stage(tx, job_id, statuses.PROOF_STAGE[type(fact)])
    await _tell(tx, fact, job_id)


async def _is_news(tx: Transaction, fact: Event) -> bool:
    """Say whether nothing later of the same aggregate was heard from the same service."""
    return await story_queries.is_newest(tx, fact, BY_TYPE[type_of(type(fact))].owner)


async def _tell(tx: Transaction, fact: Event, job_id: str) -> None:
    line = line_about(fact)
    if line:
        event_id = fact_id("ftevent", fact, job_id)
        await story_queries.add_line(tx, event_id, job_id, fact.at, line.level, line.message)


async def _keep(tx: Transaction, fact: Event, job_id: str, what: str, evidence: str) -> None:
    await evidence_queries.add(tx, fact_id("ftevid", fact, job_id), job_id, fact.at, what, evidence)


async def _note_mailed(tx: Transaction, fact: notices.NoticeDelivered | notices.NoticeFailed) -> None:
    became = fact.reason if isinstance(fact, notices.NoticeFailed) else "delivered"
    await member_queries.mailed(tx, fact.job_id, int(fact.about.removeprefix(INVITATION)), became)


async def _tell_waiting_jobs(tx: Transaction, fact: Event, dataset_id: str) -> None:
    for job_id in await job_queries.of_dataset(tx, dataset_id, fact.at):
        await _tell(tx, fact, job_id)
