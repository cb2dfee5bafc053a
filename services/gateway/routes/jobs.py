"""Fine-tuning jobs on OpenAI's wire. A job is accepted with its facts in one transaction, whoever else is down."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from asyncpg import Record
from litestar import Request, Router, get, post
from litestar.datastructures import MultiDict
from litestar.openapi.spec import Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, FromQuery, JSONBody

from contracts.base import new_id
from contracts.jobs import JobCancelAsked, JobPauseAsked, JobResumeAsked, JobSubmitted
from contracts.trackers import WANDB
from libs.db import Transaction
from libs.errors import Conflict, Rejected
from services.gateway.auth import Caller
from services.gateway.dependencies import TheCaller, TheSettings, Tx
from services.gateway.domain import shapes, trackers, wire, wishes
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.domain.repeats import claim_of
from services.gateway.domain.statuses import is_final
from services.gateway.listing import up_to
from services.gateway.once import once
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import jobs as queries
from services.gateway.queries import story as story_queries
from services.gateway.queries import trackers as tracker_queries
from services.gateway.quotas import room_for_job
from services.gateway.routes.datasets import ask_for
from services.gateway.routes.found import the_dataset, the_job, the_training_file
from services.gateway.sealing import wandb_seal
from services.gateway.settings import Settings
from services.gateway.trail import note

DEFAULT_SEED = 42


@post(
    "/",
    operation_id="createFineTuningJob",
    opt=needs("jobs.write"),
    summary="Submit a job",
    status_code=200,
    responses=documented(402, 404),
)
async def create_job(
    data: JSONBody[wishes.JobWish], request: Request[Any, Any, Any], caller: TheCaller, tx: Tx, settings: TheSettings
) -> wire.Job:
    """Submit a job. It survives whatever happens from here on.

    Send an ``Idempotency-Key`` to be sure that a repeated request makes no second job.
    """
    claim = claim_of(request.headers, caller.prefix, "POST", request.url.path, await request.body())
    return await once(tx, claim, wire.Job, partial(_submit, data, caller, tx, settings))


@dataclass
class ListOperation(Operation):
    """Says in OpenAPI how a list is narrowed by metadata; the handler reads the query string."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        by_key = Schema(type=OpenAPIType.OBJECT, additional_properties=text)
        metadata = Parameter(
            name="metadata",
            param_in="query",
            required=False,
            style="deepObject",
            explode=True,
            schema=Schema(one_of=[by_key, Schema(type=OpenAPIType.NULL)]),
            description="`metadata[key]=value` keeps jobs that carry it, `metadata=null` those that carry none.",
        )
        self.parameters = [*(self.parameters or []), metadata]


@get(
    "/",
    operation_id="listPaginatedFineTuningJobs",
    opt=needs("jobs.read"),
    summary="List jobs",
    operation_class=ListOperation,
    responses=documented(),
)
async def list_jobs(
    request: Request[Any, Any, Any],
    tx: Tx,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(100)] = 20,
) -> Page[wire.Job]:
    """List jobs, the latest first; ``metadata[key]=value`` keeps those that carry it, ``metadata=null`` bare ones."""
    checked_limit(limit, 100)
    bare = request.query_params.get("metadata") == "null"
    rows = await queries.newest_first(tx, after, _metadata(request.query_params), limit + 1, bare=bare)
    return page_of([shapes.job_of(row) for row in rows], [row["job_id"] for row in rows], limit)


@get(
    "/{job:str}",
    operation_id="retrieveFineTuningJob",
    opt=needs("jobs.read"),
    summary="Describe a job",
    responses=documented(404),
)
async def retrieve_job(job: FromPath[str], tx: Tx) -> wire.Job:
    """Describe a job: its status, and under ``woodshed`` its stage, progress, estimate and outcome."""
    return shapes.job_of(await the_job(tx, job))


@post(
    "/{job:str}/cancel",
    operation_id="cancelFineTuningJob",
    opt=needs("jobs.write"),
    summary="Cancel a job",
    status_code=200,
    responses=documented(404, 409),
)
async def cancel_job(job: FromPath[str], caller: TheCaller, tx: Tx) -> wire.Job:
    """Ask for a job to end without a model. Its device is free within seconds."""
    row = await the_job(tx, job)
    if row["status"] != "cancelled":
        _require_unfinished(row, "cancel")
        await tx.tell(JobCancelAsked(tenant=tx.tenant, at=datetime.now(UTC), job_id=job))
        await note(tx, caller, "job.cancel_asked", job)
    return shapes.job_of(row)


@post(
    "/{job:str}/pause",
    operation_id="pauseFineTuningJob",
    opt=needs("jobs.write"),
    summary="Pause a job",
    status_code=200,
    responses=documented(404, 409),
)
async def pause_job(job: FromPath[str], caller: TheCaller, tx: Tx) -> wire.Job:
    """Ask for a job to wait. If it trains it saves at the end of a step, loses nothing, and frees its device."""
    row = await the_job(tx, job)
    _require_unfinished(row, "pause")
    await tx.tell(JobPauseAsked(tenant=tx.tenant, at=datetime.now(UTC), job_id=job))
    await note(tx, caller, "job.pause_asked", job)
    return shapes.job_of(row)


@post(
    "/{job:str}/resume",
    operation_id="resumeFineTuningJob",
    opt=needs("jobs.write"),
    summary="Resume a job",
    status_code=200,
    responses=documented(404, 409),
)
async def resume_job(job: FromPath[str], caller: TheCaller, tx: Tx) -> wire.Job:
    """Ask for a paused job to go on where it stopped; its adapter will be the same as if it had never been paused."""
    row = await the_job(tx, job)
    _require_unfinished(row, "resume")
    await tx.tell(JobResumeAsked(tenant=tx.tenant, at=datetime.now(UTC), job_id=job))
    await note(tx, caller, "job.resume_asked", job)
    return shapes.job_of(row)


@get(
    "/{job:str}/events",
    operation_id="listFineTuningEvents",
    opt=needs("jobs.read"),
    summary="A job's story",
    responses=documented(404),
)
async def list_events(
    job: FromPath[str],
    tx: Tx,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(1000)] = 20,
) -> Page[wire.JobEvent]:
    """List what happened to a job in sentences, the latest first."""
    checked_limit(limit, 1000)
    await the_job(tx, job)
    rows = await story_queries.lines(tx, job, after, limit + 1)
    return page_of([shapes.job_event_of(row) for row in rows], [row["event_id"] for row in rows], limit)


@get(
    "/{job:str}/checkpoints",
    operation_id="listFineTuningJobCheckpoints",
    opt=needs("jobs.read"),
    summary="A job's checkpoints",
    responses=documented(404),
)
async def list_checkpoints(
    job: FromPath[str],
    tx: Tx,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(1000)] = 10,
) -> Page[wire.Checkpoint]:
    """List the states a run can go on from, the latest first."""
    checked_limit(limit, 1000)
    await the_job(tx, job)
    rows = await story_queries.checkpoints(tx, job, after, limit + 1)
    return page_of([shapes.checkpoint_of(row) for row in rows], [row["checkpoint_id"] for row in rows], limit)


router = Router(
    "/v1/fine_tuning/jobs",
    route_handlers=[
        create_job,
        list_jobs,
        retrieve_job,
        cancel_job,
        pause_job,
        resume_job,
        list_events,
        list_checkpoints,
    ],
    tags=["Fine-tuning"],
)


def _require_unfinished(row: Record, what: str) -> None:
    """Refuse a wish about a job that has ended; whether one that has not is ready for it, the scheduler knows."""
    if is_final(row["status"]):
        ended = "was cancelled" if row["status"] == "cancelled" else f"has {row['status']}"
        raise Conflict(f"The job {ended} already; there is nothing left to {what}.", code="job_is_over", field="job")


async def _submit(wish: wishes.JobWish, caller: Caller, tx: Transaction, settings: Settings) -> wire.Job:
    wishes.check_job(wish)
    key_is_set = bool(settings.wandb_api_key or trackers.key_of(await tracker_queries.key(tx), wandb_seal(settings)))
    wandb = shapes.wandb_of(wishes.wandb_of(wish, key_is_set=key_is_set))
    preset = wishes.chosen_preset(wish.preset)
    base_model = wishes.chosen_model(wish.model, settings.models)
    file = await the_training_file(tx, wish.training_file, "training_file")
    validation = await the_training_file(tx, wish.validation_file, "validation_file") if wish.validation_file else None
    fact = JobSubmitted(
        tenant=tx.tenant,
        at=datetime.now(UTC),
        job_id=new_id("ftjob"),
        dataset_id=await _dataset(wish, tx, file, validation, base_model),
        training_file=wish.training_file,
        validation_file=wish.validation_file or "",
        base_model=base_model,
        preset=preset.name,
        overrides=wishes.overrides_of(wish),
        seed=DEFAULT_SEED if wish.seed is None else wish.seed,
        suffix=wish.suffix or "",
        priority=wish.priority,
        trackers=(WANDB,) if wandb else (),
    )
    row = await queries.add(tx, fact, wishes.asked_hyperparameters(wish), wish.metadata or {}, wandb)
    await tx.tell(fact)
    await room_for_job(tx, settings)
    await note(tx, caller, "job.submitted", fact.job_id)
    return shapes.job_of(row)


async def _dataset(
    wish: wishes.JobWish, tx: Transaction, file: Record, validation: Record | None, base_model: str
) -> str:
    """Return the dataset the job trains on: the one it names, else one of its files, asked for if need be."""
    if wish.dataset is None:
        split = wishes.split_of(None, has_validation_file=validation is not None)
        return await ask_for(tx, file, validation, base_model, split=split)
    dataset = await the_dataset(tx, wish.dataset, "dataset")
    if (dataset["file_id"], dataset["base_model"]) != (wish.training_file, base_model):
        raise Rejected(
            f"The dataset was made of {dataset['file_id']} for {dataset['base_model']}, "
            f"but the job names {wish.training_file} and {base_model}. Name the same, or leave dataset out.",
            code="contradiction",
            field="dataset",
        )
    return wish.dataset


def _metadata(query: MultiDict[str]) -> dict[str, str]:
    """Read OpenAI's ``metadata[key]=value``; a key that is asked for twice is refused by name."""
    found: dict[str, str] = {}
    for name, value in query.multi_items():
        if name.startswith("metadata[") and name.endswith("]"):
            key = name.removeprefix("metadata[").removesuffix("]")
            if key in found:
                raise Rejected(
                    f"{name[:100]!r} is given twice. A job carries one value for a key: give one.",
                    code="contradiction",
                    field=name,
                )
            found[key] = value
    return found
