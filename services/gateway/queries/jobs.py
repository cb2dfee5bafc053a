"""Jobs as clients see them, projected from the scheduler's, the trainer's and the evaluator's facts.

Each fact writes its own columns whatever the order of arrival; status and stage are
written only when the handler found the fact newer than all it has seen.
"""

from datetime import datetime

import msgspec
from asyncpg import Record

from contracts.jobs import JobDispatched, JobFailed, JobQueued, JobSubmitted, JobSucceeded, Remedy
from contracts.runs import RunFinished, RunRecovered
from libs.db import Transaction
from services.gateway.domain.wire import Wandb

ADD = """
    INSERT INTO gateway.job (
        job_id, tenant, model, training_file, validation_file, dataset_id, preset, priority, suffix, seed, asked,
        metadata, created_at, overrides, retry_of, wandb)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
 RETURNING *, NULL AS retried_as
"""
GET = """
    SELECT *, (SELECT max(later.job_id) FROM gateway.job AS later WHERE later.retry_of = job.job_id) AS retried_as
      FROM gateway.job
     WHERE job_id = $1
"""
HOLD = "SELECT FROM gateway.job WHERE job_id = $1 FOR UPDATE"
NEWEST_FIRST = """
    SELECT *, (SELECT max(later.job_id) FROM gateway.job AS later WHERE later.retry_of = job.job_id) AS retried_as
      FROM gateway.job
     WHERE ($1::text IS NULL OR job_id < $1)
       AND metadata @> $2
       AND (NOT $4 OR metadata = '{}')
  ORDER BY job_id DESC
     LIMIT $3
"""
OF_DATASET = """
    SELECT job_id
      FROM gateway.job
     WHERE dataset_id = $1
       AND (status NOT IN ('succeeded', 'failed', 'cancelled') OR finished_at >= $2)
"""
FINE_TUNED = """
    SELECT job_id, tenant, model, fine_tuned_model, finished_at
      FROM gateway.job
     WHERE fine_tuned_model IS NOT NULL
       AND model_deleting_at IS NULL
       AND (fine_tuned_model = $1 OR ($1::text IS NULL AND withheld IS NULL))
  ORDER BY job_id DESC
"""
STATUS = """
    UPDATE gateway.job
       SET status = $2
     WHERE job_id = $1
       AND status NOT IN ('succeeded', 'failed', 'cancelled')
"""
RUN_STAGE = "UPDATE gateway.job SET run_stage_of = $2, run_stage = $3 WHERE job_id = $1"
PROOF_STAGE = "UPDATE gateway.job SET proof_stage = $2 WHERE job_id = $1"
PLANNED = """
    UPDATE gateway.job
       SET recipe = $3, estimate = $4, planned_version = $2
     WHERE job_id = $1
       AND planned_version < $2
"""
DISPATCHED = """
    UPDATE gateway.job
       SET run_id = $2, dispatched_at = $3
     WHERE job_id = $1
       AND (dispatched_at IS NULL OR dispatched_at < $3)
"""
SUCCEEDED = """
    UPDATE gateway.job
       SET fine_tuned_model = $2, trained_tokens = $3, seconds = $4, cost = $5, finished_at = $6,
           interruptions = $7, lost_steps = $8, lost_seconds = $9
     WHERE job_id = $1
"""
FAILED = "UPDATE gateway.job SET error = $2, finished_at = $3 WHERE job_id = $1"
CANCELLED = "UPDATE gateway.job SET finished_at = $2 WHERE job_id = $1"
RECOVERED = """
    UPDATE gateway.job
       SET interruptions = greatest(interruptions, $2), lost_steps = greatest(lost_steps, $3),
           lost_seconds = greatest(lost_seconds, $4)
     WHERE job_id = $1
"""
ADAPTER = "UPDATE gateway.job SET adapter_uri = $2, adapter_sha256 = $3 WHERE job_id = $1"
REPORTED = "UPDATE gateway.job SET headline = $2, verdict = $3 WHERE job_id = $1"
WITHHELD = "UPDATE gateway.job SET withheld = $2 WHERE job_id = $1"
UNCOLLECTED = """
    SELECT job_id, tenant, adapter_uri, adapter_sha256
      FROM gateway.job
     WHERE adapter_uri IS NOT NULL
       AND collected_at IS NULL
     LIMIT 20
"""
COLLECTED = """
    UPDATE gateway.job
       SET collected_at = now(), result_file = $2
     WHERE job_id = $1
       AND collected_at IS NULL
 RETURNING job_id
"""


async def add(
    tx: Transaction, job: JobSubmitted, asked: object, metadata: dict[str, str], wandb: Wandb | None = None
) -> Record:
    """Enter a job that was submitted."""
    row: Record | None = await tx.fetchrow(
        ADD,
        job.job_id,
        job.tenant,
        job.base_model,
        job.training_file,
        job.validation_file or None,
        job.dataset_id,
        job.preset,
        job.priority,
        job.suffix,
        job.seed,
        _json(asked),
        _json(metadata),
        job.at,
        _json(job.overrides),
        job.retry_of or None,
        _json(wandb) if wandb else None,
    )
    assert row is not None
    return row


async def get(tx: Transaction, job_id: str) -> Record | None:
    """Find a job."""
    return await tx.fetchrow(GET, job_id)


async def hold(tx: Transaction, job_id: str) -> None:
    """Let nobody else retry a job until this transaction ends."""
    await tx.execute(HOLD, job_id)


async def newest_first(
    tx: Transaction, after: str | None, metadata: dict[str, str], limit: int, *, bare: bool = False
) -> list[Record]:
    """List jobs that carry this metadata, the latest first; ``bare`` ones carry none."""
    return await tx.fetch(NEWEST_FIRST, after, _json(metadata), limit, bare)


async def of_dataset(tx: Transaction, dataset_id: str, at: datetime) -> list[str]:
    """List the jobs that waited for or trained on a dataset at a time."""
    return [row["job_id"] for row in await tx.fetch(OF_DATASET, dataset_id, at)]


async def fine_tuned(tx: Transaction, name: str | None = None) -> list[Record]:
    """List the models that jobs made: all that are offered, or the one of this name."""
    return await tx.fetch(FINE_TUNED, name)


async def set_status(tx: Transaction, job_id: str, status: str) -> None:
    """Move a job that has not ended."""
    await tx.execute(STATUS, job_id, status)


async def set_run_stage(tx: Transaction, job_id: str, run_id: str, stage: str) -> None:
    """Note how far a run of the job is."""
    await tx.execute(RUN_STAGE, job_id, run_id, stage)


async def set_proof_stage(tx: Transaction, job_id: str, stage: str) -> None:
    """Note how far the proof is."""
    await tx.execute(PROOF_STAGE, job_id, stage)


async def planned(tx: Transaction, fact: JobQueued | JobDispatched) -> None:
    """Note what the job will do and take; an older plan that comes late changes nothing."""
    await tx.execute(PLANNED, fact.job_id, fact.version, _json(fact.recipe), _json(fact.estimate))


async def dispatched(tx: Transaction, fact: JobDispatched) -> None:
    """Note the run that carries the job out."""
    await tx.execute(DISPATCHED, fact.job_id, fact.run_id, fact.at)


async def succeeded(tx: Transaction, fact: JobSucceeded) -> None:
    """Note what the job made and took."""
    await tx.execute(
        SUCCEEDED,
        fact.job_id,
        fact.model,
        fact.trained_tokens,
        fact.seconds,
        fact.cost,
        fact.at,
        fact.interruptions,
        fact.lost_steps,
        fact.lost_seconds,
    )


async def failed(tx: Transaction, fact: JobFailed) -> None:
    """Note why the job failed."""
    error = {"code": fact.reason, "message": fact.message, "fix": fact.fix, "remedy": fact.remedy}
    await tx.execute(FAILED, fact.job_id, _json(error), fact.at)


async def cancelled(tx: Transaction, job_id: str, at: datetime) -> None:
    """Note when the job was cancelled."""
    await tx.execute(CANCELLED, job_id, at)


async def recovered(tx: Transaction, fact: RunRecovered) -> None:
    """Note what the run's interruptions have cost so far; smaller figures come late and are dropped."""
    await tx.execute(RECOVERED, fact.job_id, fact.interruptions, fact.lost_steps, fact.lost_seconds)


async def set_adapter(tx: Transaction, fact: RunFinished) -> None:
    """Note where the adapter is: its files are still to be collected."""
    await tx.execute(ADAPTER, fact.job_id, fact.adapter_uri, fact.sha256)


async def withhold(tx: Transaction, job_id: str, remedy: Remedy) -> None:
    """Offer a job's model no longer."""
    await tx.execute(WITHHELD, job_id, _json(remedy))


async def set_verdict(tx: Transaction, job_id: str, headline: str, verdict: str) -> None:
    """Note what the proof found."""
    await tx.execute(REPORTED, job_id, headline, verdict)


async def uncollected(tx: Transaction) -> list[Record]:
    """List up to 20 jobs whose adapter's files are not listed yet."""
    return await tx.fetch(UNCOLLECTED)


async def set_collected(tx: Transaction, job_id: str, result_file: str | None) -> bool:
    """Note that a job's files are listed. ``False``: somebody else did it."""
    return await tx.fetchval(COLLECTED, job_id, result_file) is not None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
