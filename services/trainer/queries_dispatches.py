"""The SQL of dispatches: what the scheduler gave, took back, or called off. One function, one statement."""

from datetime import datetime

import msgspec

from contracts.jobs import JobDispatched
from libs.db import Transaction

HOLD_JOB = "SELECT pg_advisory_xact_lock(hashtextextended('trainer.job.' || $1::text, 0))"


async def hold_job(tx: Transaction, job_id: str) -> None:
    """Be the only one that dispatches or stops this job, known or not, until this transaction ends."""
    await tx.execute(HOLD_JOB, job_id)


ADD_RUN = """
    INSERT INTO trainer.run (run_id, tenant, job_id, state, recipe, dataset_id, dataset_digest, dataset_uri,
                             checkpoint_every, memory_bytes, steps, budget, needs)
    VALUES ($1, $2, $3, 'starting', $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (job_id) DO NOTHING
 RETURNING run_id
"""


async def add_run(tx: Transaction, job: JobDispatched, checkpoint_every: int, memory_bytes: int) -> bool:
    """Enter a run that waits for its first lease. ``False``: the job has one already."""
    recipe = msgspec.json.encode(job.recipe).decode()
    added = await tx.fetchval(
        ADD_RUN, job.run_id, job.tenant, job.job_id, recipe, job.dataset_id, job.dataset_digest, job.dataset_uri,
        checkpoint_every, memory_bytes, max(job.estimate.steps, job.recipe.max_steps), job.budget,
        list(job.recipe.needs),
    )  # fmt: skip
    return added is not None


TAKE_UP = """
    UPDATE trainer.run
       SET offer_id = $3, budget = $5, interrupted_at = CASE state WHEN 'paused' THEN coalesce(interrupted_at, $4) END
     WHERE job_id = $1 AND run_id = $2 AND (state = 'paused' OR attempt = 0 AND offer_id IS NULL)
 RETURNING run_id
"""


async def take_up(tx: Transaction, job: JobDispatched, at: datetime) -> bool:
    """Let a new or a paused run live by this dispatch and its budget. ``False``: it lives by another, or is over."""
    return await tx.fetchval(TAKE_UP, job.job_id, job.run_id, job.offer_id, at, job.budget) is not None


FORGET_RUN = "DELETE FROM trainer.run WHERE run_id = $1 AND attempt = 0"


async def forget_run(tx: Transaction, run_id: str) -> None:
    """Forget a run that got no lease: its job may be dispatched anew."""
    await tx.execute(FORGET_RUN, run_id)


CALL_OFF = """
    INSERT INTO trainer.called_off (offer_id, tenant, job_id)
    VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING
"""


async def call_off(tx: Transaction, tenant: str, job_id: str, offer_id: str) -> None:
    """Write down that a dispatch was ended before it arrived."""
    await tx.execute(CALL_OFF, offer_id, tenant, job_id)


CALLED_OFF = "DELETE FROM trainer.called_off WHERE offer_id = $1 RETURNING offer_id"


async def called_off(tx: Transaction, offer_id: str) -> bool:
    """Whether this dispatch was ended before it arrived; it is forgotten, for it arrives once."""
    return await tx.fetchval(CALLED_OFF, offer_id) is not None


FORGET_CALLED_OFF = "DELETE FROM trainer.called_off WHERE at < $1"


async def forget_called_off(tx: Transaction, before: datetime) -> None:
    """Forget dispatches that were called off and never came: most had come already, to an earlier stay of the run."""
    await tx.execute(FORGET_CALLED_OFF, before)
