"""Which projects may use a checkpoint."""

from collections.abc import Sequence

from asyncpg import Record

from contracts.base import new_id
from libs.db import Transaction

OF_STEP = """
    SELECT checkpoint.*, job.model, job.suffix
      FROM gateway.checkpoint
      JOIN gateway.job USING (job_id)
     WHERE job.job_id LIKE '%' || $1
       AND checkpoint.step = $2
       AND job.model_deleting_at IS NULL
  ORDER BY checkpoint_id DESC
"""
ADD = """
    INSERT INTO gateway.checkpoint_permission (permission_id, tenant, checkpoint_id, project_id)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT (checkpoint_id, project_id) DO UPDATE SET project_id = excluded.project_id
 RETURNING *
"""
NEWEST_FIRST = """
    SELECT *
      FROM gateway.checkpoint_permission
     WHERE checkpoint_id = $1
       AND ($2::text IS NULL OR project_id = $2)
       AND ($3::text IS NULL OR permission_id < $3)
  ORDER BY permission_id DESC
     LIMIT $4
"""
OLDEST_FIRST = """
    SELECT *
      FROM gateway.checkpoint_permission
     WHERE checkpoint_id = $1
       AND ($2::text IS NULL OR project_id = $2)
       AND ($3::text IS NULL OR permission_id > $3)
  ORDER BY permission_id
     LIMIT $4
"""
DELETE = """
    DELETE FROM gateway.checkpoint_permission
     WHERE checkpoint_id = $1
       AND permission_id = $2
 RETURNING permission_id
"""


async def checkpoints(tx: Transaction, job_ends_with: str, step: int) -> list[Record]:
    """List the checkpoints of a step, of jobs whose id ends so; the latest first."""
    return await tx.fetch(OF_STEP, job_ends_with, step)


async def add(tx: Transaction, checkpoint_id: str, projects: Sequence[str]) -> list[Record]:
    """Let projects use a checkpoint; one that may already keeps the permission it has."""
    names = sorted(new_id("cp") for _ in projects)
    rows = [
        await tx.fetchrow(ADD, name, tx.tenant, checkpoint_id, project)
        for name, project in zip(names, projects, strict=True)
    ]
    return [row for row in rows if row is not None]


async def newest_first(
    tx: Transaction, checkpoint_id: str, project: str | None, after: str | None, limit: int
) -> list[Record]:
    """List permissions, the latest first."""
    return await tx.fetch(NEWEST_FIRST, checkpoint_id, project, after, limit)


async def oldest_first(
    tx: Transaction, checkpoint_id: str, project: str | None, after: str | None, limit: int
) -> list[Record]:
    """List permissions, the earliest first."""
    return await tx.fetch(OLDEST_FIRST, checkpoint_id, project, after, limit)


async def delete(tx: Transaction, checkpoint_id: str, permission_id: str) -> bool:
    """Take a permission back. ``False``: there is no such permission."""
    return await tx.fetchval(DELETE, checkpoint_id, permission_id) is not None
