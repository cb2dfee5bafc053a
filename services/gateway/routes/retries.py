"""After a failure: the log, what a retry would change, and the retry itself."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from asyncpg import Record
from litestar import Request, Response, Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from contracts.base import new_id
from contracts.datasets import SplitPlan
from contracts.jobs import JobSubmitted, Overrides
from contracts.recipes import Recipe
from contracts.trackers import WANDB
from libs.db import Transaction
from services.gateway.auth import Caller
from services.gateway.dependencies import TheCaller, TheSettings, Tx
from services.gateway.domain import log, retries, shapes, wire, wishes
from services.gateway.domain.repeats import claim_of
from services.gateway.once import once
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import evidence as evidence_queries
from services.gateway.queries import jobs as queries
from services.gateway.queries import story as story_queries
from services.gateway.quotas import room_for_job
from services.gateway.routes.datasets import ask_for
from services.gateway.routes.found import the_dataset, the_file, the_job, the_training_file
from services.gateway.settings import Settings
from services.gateway.trail import note

LONGEST_STORY = 10_000


@get(
    "/{job:str}/log",
    operation_id="downloadFineTuningJobLog",
    opt=needs("jobs.read"),
    summary="A job's log",
    responses=documented(404),
    media_type="text/plain",
)
async def download_log(job: FromPath[str], tx: Tx) -> Response[str]:
    """Send a job's story and the evidence of every attempt that was lost: exit codes and last lines, as text."""
    row = await the_job(tx, job)
    story = await story_queries.lines(tx, job, None, LONGEST_STORY)
    text = log.text_of(row, story, await evidence_queries.of_job(tx, job))
    headers = {"Content-Disposition": f'attachment; filename="{job}.log"'}
    return Response(text, media_type="text/plain", headers=headers)


@get(
    "/{job:str}/retry",
    operation_id="previewFineTuningJobRetry",
    opt=needs("jobs.read"),
    summary="What a retry would change",
    responses=documented(404),
)
async def preview_retry(
    job: FromPath[str],
    tx: Tx,
    training_file: FromQuery[str | None] = None,
    n_epochs: FromQuery[int | None] = None,
    learning_rate: FromQuery[float | None] = None,
    rank: FromQuery[int | None] = None,
    max_length: FromQuery[int | None] = None,
    time_limit: FromQuery[float | None] = None,
    as_it_was: FromQuery[bool] = False,
) -> wire.Retry:
    """Show what ``POST`` with the same wishes would submit, setting by setting. Nothing is submitted."""
    row = await the_job(tx, job)
    failed = _failed(row)
    asked = Overrides(
        epochs=n_epochs, learning_rate=learning_rate, rank=rank, max_length=max_length, time_limit=time_limit
    )
    refusal = retries.hindrance(failed, training_file)
    changes = [] if refusal else retries.plan(failed, asked, training_file, with_fix=not as_it_was).changes
    return wire.Retry(
        job=job,
        possible=refusal is None,
        hindrance=f"{refusal.message} {refusal.fix or ''}".strip() if refusal else None,
        fix=shapes.fix_of(row),
        changes=changes,
        retried_as=row["retried_as"],
    )


@post(
    "/{job:str}/retry",
    operation_id="retryFineTuningJob",
    opt=needs("jobs.write"),
    summary="Try a failed job again, with its fix",
    status_code=200,
    responses=documented(402, 404, 409),
)
async def retry_job(
    job: FromPath[str],
    request: Request[Any, Any, Any],
    caller: TheCaller,
    tx: Tx,
    settings: TheSettings,
    data: JSONBody[wishes.RetryWish | None] = None,
) -> wire.Job:
    """Submit a failed or cancelled job again with its fix, as a new job whose ``woodshed.retry_of`` names it.

    A second call returns the job that the first one made, unless that failed too or ``force`` is given.
    """
    claim = claim_of(request.headers, caller.prefix, "POST", request.url.path, await request.body())
    return await once(tx, claim, wire.Job, partial(_retry, job, data or wishes.RetryWish(), caller, tx, settings))


router = Router("/v1/fine_tuning/jobs", route_handlers=[download_log, preview_retry, retry_job], tags=["Fine-tuning"])


async def _retry(job_id: str, wish: wishes.RetryWish, caller: Caller, tx: Transaction, settings: Settings) -> wire.Job:
    await the_job(tx, job_id)
    await queries.hold(tx, job_id)
    row = await the_job(tx, job_id)
    if not wish.force and (living := await _living_retry(tx, row)):
        return shapes.job_of(living)
    failed = _failed(row)
    asked = wishes.overrides_of(wish)
    wishes.check_overrides(asked)
    if refusal := retries.hindrance(failed, wish.training_file):
        raise refusal
    planned = retries.plan(failed, asked, wish.training_file, with_fix=not wish.as_it_was)
    fact = await _anew(tx, row, planned.overrides, wish.training_file or row["training_file"])
    shown = _shown(planned.overrides, row["preset"])
    made = await queries.add(tx, fact, shown, msgspec.json.decode(row["metadata"]), shapes.wandb_in(row))
    await tx.tell(fact)
    await room_for_job(tx, settings)
    await note(tx, caller, "job.retried", fact.job_id, retry_of=job_id)
    return shapes.job_of(made)


async def _living_retry(tx: Transaction, row: Record) -> Record | None:
    """Return the newest retry of a job, unless that ended without a model too."""
    found = await the_job(tx, row["retried_as"]) if row["retried_as"] else None
    return found if found and found["status"] not in ("failed", "cancelled") else None


async def _anew(tx: Transaction, row: Record, overrides: Overrides, training_file: str) -> JobSubmitted:
    return JobSubmitted(
        tenant=tx.tenant,
        at=datetime.now(UTC),
        job_id=new_id("ftjob"),
        dataset_id=await _dataset(tx, row, training_file),
        training_file=training_file,
        validation_file=row["validation_file"] or "",
        base_model=row["model"],
        preset=row["preset"],
        overrides=overrides,
        seed=row["seed"],
        suffix=row["suffix"],
        priority=row["priority"],
        retry_of=row["job_id"],
        trackers=(WANDB,) if row["wandb"] else (),
    )


async def _dataset(tx: Transaction, row: Record, training_file: str) -> str:
    """Return the dataset as it was, though its file may be deleted by now; or one made of another in the same way."""
    if training_file == row["training_file"]:
        return str(row["dataset_id"])
    file = await the_training_file(tx, training_file, "training_file")
    before = await the_dataset(tx, row["dataset_id"])
    validation = await the_file(tx, row["validation_file"], "validation_file") if row["validation_file"] else None
    split = msgspec.json.decode(before["split"], type=SplitPlan)
    return await ask_for(tx, file, validation, row["model"], split=split, format=before["format"])


def _failed(row: Record) -> retries.Failed:
    return retries.Failed(
        job_id=row["job_id"],
        status=row["status"],
        preset=row["preset"],
        overrides=msgspec.json.decode(row["overrides"], type=Overrides),
        training_file=row["training_file"],
        recipe=row["recipe"] and msgspec.json.decode(row["recipe"], type=Recipe),
        remedy=shapes.remedy_of(row),
    )


def _shown(overrides: Overrides, preset: str) -> wishes.WishedHyperparameters:
    """Say overrides in OpenAI's three, for clients that know no others."""
    rate = overrides.learning_rate
    usual = wishes.chosen_preset(preset).rate_for(overrides.method, overrides.objective)
    return wishes.WishedHyperparameters(
        n_epochs=overrides.epochs,
        batch_size=overrides.batch_size,
        learning_rate_multiplier=None if rate is None else round(rate / usual, 6),
    )
