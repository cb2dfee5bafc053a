"""Models that are deleted: hidden at once, then their bytes go, then it is told."""

from asyncpg import Record

from libs.db import Transaction

HOLD = """
    SELECT job_id, tenant, fine_tuned_model, adapter_uri, collected_at, proof_stage
      FROM gateway.job
     WHERE fine_tuned_model = $1
       AND model_deleting_at IS NULL
       FOR UPDATE
"""
BEGIN_DELETION = "UPDATE gateway.job SET model_deleting_at = now() WHERE job_id = $1"
END_DELETION = """
    UPDATE gateway.job
       SET model_deleted_at = now()
     WHERE job_id = $1
       AND model_deleting_at IS NOT NULL
       AND model_deleted_at IS NULL
 RETURNING job_id
"""
FORGET_ARTIFACTS = "DELETE FROM gateway.artifact WHERE job_id = $1"
HALF_DELETED = """
    SELECT job_id, tenant, fine_tuned_model, adapter_uri
      FROM gateway.job
     WHERE model_deleted_at IS NULL
       AND model_deleting_at < now() - make_interval(secs => $1)
"""


async def hold(tx: Transaction, name: str) -> Record | None:
    """Find the job that made a model, and let nobody else delete the model until this transaction ends."""
    return await tx.fetchrow(HOLD, name)


async def begin_deletion(tx: Transaction, job_id: str) -> None:
    """Hide a job's model and its files."""
    await tx.execute(BEGIN_DELETION, job_id)
    await tx.execute(FORGET_ARTIFACTS, job_id)


async def end_deletion(tx: Transaction, job_id: str) -> bool:
    """Note that the bytes are gone. ``False``: somebody noted it already."""
    return await tx.fetchval(END_DELETION, job_id) is not None


async def half_deleted(tx: Transaction, older_than: float) -> list[Record]:
    """List jobs whose model's deletion began more than ``older_than`` seconds ago and did not end."""
    return await tx.fetch(HALF_DELETED, older_than)
