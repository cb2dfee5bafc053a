"""The SQL of trackers: one function, one statement. A job's turn is taken under a lease, as a notice is."""

from datetime import datetime, timedelta

from msgspec import Struct

from contracts.jobs import JobSubmitted
from libs.db import Transaction

ADD = """
    INSERT INTO notifier.tracked (job_id, tenant, submitted_at)
    VALUES ($1, $2, $3)
        ON CONFLICT (job_id) DO NOTHING
"""
TAKE_DUE = """
    UPDATE notifier.tracked
       SET takes = takes + 1, due_at = $2
     WHERE job_id = (
               SELECT job_id
                 FROM notifier.tracked
                WHERE state = 'open' AND due_at <= $1
                ORDER BY due_at
                LIMIT 1
                  FOR UPDATE SKIP LOCKED
           )
 RETURNING job_id, tenant, step, lines, takes, tries, failing_since, remarked, submitted_at
"""
TOLD = """
    UPDATE notifier.tracked
       SET step = $3, lines = $4, due_at = $5, tries = 0, failing_since = NULL
     WHERE job_id = $1 AND takes = $2 AND state = 'open'
"""
FAILED = """
    UPDATE notifier.tracked
       SET due_at = $3, tries = tries + 1, failing_since = coalesce(failing_since, $4)
     WHERE job_id = $1 AND takes = $2 AND state = 'open'
"""
DELAY = "UPDATE notifier.tracked SET due_at = $3 WHERE job_id = $1 AND takes = $2 AND state = 'open'"
SETTLE = """
    UPDATE notifier.tracked
       SET state = $3, settled_at = $4
     WHERE job_id = $1 AND takes = $2 AND state = 'open'
 RETURNING job_id
"""
REMARK = """
    UPDATE notifier.tracked
       SET remarked = remarked || $2::text
     WHERE job_id = $1 AND NOT $2 = ANY(remarked)
 RETURNING job_id
"""


class Turn(Struct, frozen=True, kw_only=True):
    """A job whose tracker is to be told now; ``takes`` is the fence, ``tries`` counts failures in a row."""

    job_id: str
    tenant: str
    step: int
    lines: int
    takes: int
    tries: int
    failing_since: datetime | None
    remarked: list[str]
    submitted_at: datetime


async def add(tx: Transaction, job: JobSubmitted) -> None:
    """Enter a job that a tracker shall show, once."""
    await tx.execute(ADD, job.job_id, job.tenant, job.at)


async def take_due(tx: Transaction, at: datetime, lease: timedelta) -> Turn | None:
    """Take the job that is due longest until the lease is over."""
    row = await tx.fetchrow(TAKE_DUE, at, at + lease)
    return Turn(**dict(row)) if row else None


async def told(tx: Transaction, turn: Turn, step: int, lines: int, due_at: datetime) -> None:
    """Write down how far the tracker was told; what failed before is over."""
    await tx.execute(TOLD, turn.job_id, turn.takes, step, lines, due_at)


async def failed(tx: Transaction, turn: Turn, at: datetime, due_at: datetime) -> None:
    """Write down that the tracker did not take it, and when to try again."""
    await tx.execute(FAILED, turn.job_id, turn.takes, due_at, at)


async def delay(tx: Transaction, turn: Turn, due_at: datetime) -> None:
    """Look again later."""
    await tx.execute(DELAY, turn.job_id, turn.takes, due_at)


async def settle(tx: Transaction, turn: Turn, state: str, at: datetime) -> bool:
    """Write down what became of it. ``False``: somebody took it over since."""
    return await tx.fetchval(SETTLE, turn.job_id, turn.takes, state, at) is not None


async def remark(tx: Transaction, job_id: str, code: str) -> bool:
    """Note that a person is told something. ``False``: they were told before."""
    return await tx.fetchval(REMARK, job_id, code) is not None
