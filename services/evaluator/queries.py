"""The evaluator's SQL: one function, one statement."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from contracts.runs import RunFinished
from libs.db import Transaction
from services.evaluator.domain.verdicts import Score
from services.evaluator.scoring.shapes import Failure

ADD = """
    INSERT INTO evaluator.evaluation (id, tenant, job_id, run_id, run, suites)
    VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
"""
TAKE = """
    UPDATE evaluator.evaluation
       SET state = 'running', fence = fence + 1, attempts = attempts + 1,
           held_until = now() + make_interval(secs => $1)
     WHERE id = (
           SELECT id
             FROM evaluator.evaluation
            WHERE (state = 'queued' AND not_before <= now()) OR (state = 'running' AND held_until < now())
            ORDER BY queued_at
              FOR UPDATE SKIP LOCKED
            LIMIT 1)
 RETURNING id, tenant, fence, attempts, suites, run
"""
RENEW = """
    UPDATE evaluator.evaluation
       SET held_until = now() + make_interval(secs => $3)
     WHERE id = $1 AND fence = $2 AND state = 'running'
 RETURNING id
"""
GIVE_BACK = """
    UPDATE evaluator.evaluation
       SET state = 'queued', held_until = NULL, not_before = now() + make_interval(secs => $3),
           attempts = attempts - $4
     WHERE id = $1 AND fence = $2 AND state = 'running'
 RETURNING id
"""
FINISH = """
    UPDATE evaluator.evaluation
       SET state = 'done', held_until = NULL, verdict = $3, headline = $4, finished_at = $5
     WHERE id = $1 AND fence = $2 AND state = 'running'
 RETURNING id
"""
FAIL = """
    UPDATE evaluator.evaluation
       SET state = 'failed', held_until = NULL, reason = $3, message = $4, finished_at = $5
     WHERE id = $1 AND fence = $2 AND state = 'running'
 RETURNING id
"""
SET_SERVED = """
    UPDATE evaluator.evaluation
       SET served = $3, engine = $4
     WHERE id = $1 AND fence = $2 AND state = 'running' AND served IS NULL
 RETURNING id
"""
ADD_SCORE = """
    INSERT INTO evaluator.score (evaluation_id, tenant, suite, base, tuned, change, low, high, verdict, items)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
RUN_OF_JOB = """
    SELECT run, served, engine, reason, message
      FROM evaluator.evaluation
     WHERE tenant = $1 AND job_id = $2
     ORDER BY queued_at DESC
     LIMIT 1
"""


class Held(Struct, frozen=True):
    """An evaluation this process may carry out as long as nobody has taken a later ``fence``."""

    id: str
    tenant: str
    fence: int
    attempts: int
    suites: tuple[str, ...]
    run: RunFinished


class Released(Struct, frozen=True):
    """A run whose model may be spoken with, and the engine through which it was compared."""

    run: RunFinished
    engine: str


class Made(Struct, frozen=True):
    """A finished run, what speaks for it, and what the gate says: ``served`` is none as long as nobody has compared.

    ``failure`` is why its evaluation failed, if it did.
    """

    model: Released
    served: str | None
    failure: Failure | None


async def add(tx: Transaction, evaluation_id: str, run: RunFinished, suites: Sequence[str]) -> None:
    """Queue the evaluation of a run; nothing happens if it is there already."""
    await tx.execute(
        ADD, evaluation_id, run.tenant, run.job_id, run.run_id, msgspec.json.encode(run).decode(), list(suites)
    )


async def take(tx: Transaction, lease: float) -> Held | None:
    """Take the oldest evaluation that waits, or whose holder went silent, for ``lease`` seconds."""
    row = await tx.fetchrow(TAKE, lease)
    if row is None:
        return None
    run = msgspec.json.decode(row["run"], type=RunFinished)
    return Held(row["id"], row["tenant"], row["fence"], row["attempts"], tuple(row["suites"]), run)


async def renew(tx: Transaction, held: Held, lease: float) -> bool:
    """Hold on. ``False``: somebody else has it now, stop working."""
    return await tx.fetchval(RENEW, held.id, held.fence, lease) is not None


async def give_back(tx: Transaction, held: Held, after: float, *, free: bool) -> bool:
    """Queue it again, ``after`` seconds from now; ``free`` when the attempt is not to count."""
    return await tx.fetchval(GIVE_BACK, held.id, held.fence, after, int(free)) is not None


async def finish(tx: Transaction, held: Held, verdict: str, headline: str, at: datetime) -> bool:
    """Close it as done. ``False``: it is no longer ours, tell nothing."""
    return await tx.fetchval(FINISH, held.id, held.fence, verdict, headline, at) is not None


async def fail(tx: Transaction, held: Held, reason: str, message: str, at: datetime) -> bool:
    """Close it as failed. ``False``: it is no longer ours, tell nothing."""
    return await tx.fetchval(FAIL, held.id, held.fence, reason, message, at) is not None


async def set_served(tx: Transaction, held: Held, served: str, engine: str) -> bool:
    """Note what came of the comparison. ``False``: it was noted before, or is no longer ours; tell nothing."""
    return await tx.fetchval(SET_SERVED, held.id, held.fence, served, engine) is not None


async def add_score(tx: Transaction, held: Held, score: Score) -> None:
    """Keep one suite's figures."""
    change = score.change
    await tx.execute(
        ADD_SCORE,
        held.id,
        held.tenant,
        score.suite,
        score.base,
        score.tuned,
        change.value,
        change.low,
        change.high,
        score.verdict,
        score.items,
    )


async def run_of_job(tx: Transaction, tenant: str, job_id: str) -> Made | None:
    """Return what a job made."""
    row = await tx.fetchrow(RUN_OF_JOB, tenant, job_id)
    if row is None:
        return None
    run = msgspec.json.decode(row["run"], type=RunFinished)
    model = Released(run, row["engine"])
    return Made(model, row["served"], Failure(row["reason"], row["message"]) if row["reason"] else None)
