"""A run's figures for drawing: every step of a short run, spans of steps of a long one.

Spans that are over are summed up while the run goes on; the steps behind the last of them are read as they are.
"""

from collections.abc import Mapping

from asyncpg import Record

from libs.db import Transaction

STEPS = 256
"""Steps of a span."""

FORGET_FROM = "DELETE FROM gateway.metric_span WHERE job_id = $1 AND span >= $2"
SUM_UP = f"""
    INSERT INTO gateway.metric_span (
        job_id, span, tenant, step, points, train_loss, train_loss_min, train_loss_max, valid_loss, learning_rate,
        grad_norm)
    SELECT job_id, step / {STEPS}, tenant, max(step), count(*), avg(train_loss), min(train_loss), max(train_loss),
           (array_agg(valid_loss ORDER BY step DESC) FILTER (WHERE valid_loss IS NOT NULL))[1],
           avg(learning_rate), max(grad_norm)
      FROM gateway.metric
     WHERE job_id = $1
       AND step >= {STEPS} * (SELECT coalesce(max(span) + 1, 0) FROM gateway.metric_span WHERE job_id = $1)
       AND step < {STEPS} * $2::bigint
  GROUP BY job_id, step / {STEPS}, tenant
"""
SUMMED_UP = "SELECT count(*) AS spans, coalesce(max(span) + 1, 0) AS next FROM gateway.metric_span WHERE job_id = $1"
SPANS = """
    SELECT max(step) AS step, sum(train_loss * points) / sum(points) AS train_loss,
           min(train_loss_min) AS train_loss_min, max(train_loss_max) AS train_loss_max,
           (array_agg(valid_loss ORDER BY span DESC) FILTER (WHERE valid_loss IS NOT NULL))[1] AS valid_loss,
           sum(learning_rate * points) / sum(points) AS learning_rate, max(grad_norm) AS grad_norm
      FROM gateway.metric_span
     WHERE job_id = $1
  GROUP BY span / $2::bigint
  ORDER BY 1
"""
STEPS_FROM = """
    SELECT step, train_loss, train_loss AS train_loss_min, train_loss AS train_loss_max, valid_loss, learning_rate,
           grad_norm
      FROM gateway.metric
     WHERE job_id = $1
       AND step >= $2
  ORDER BY step
"""


async def sum_up(tx: Transaction, spans: Mapping[str, tuple[int, int]]) -> None:
    """Sum up jobs' spans that are over; figures came for steps from the first to the last span named for each."""
    await tx.executemany(FORGET_FROM, [(job, first) for job, (first, _) in spans.items()])
    await tx.executemany(SUM_UP, [(job, last) for job, (_, last) in spans.items()])


async def summed_up(tx: Transaction, job_id: str) -> tuple[int, int]:
    """Return how many spans of a job are summed up, and the number of the next."""
    row = await tx.fetchrow(SUMMED_UP, job_id)
    return (row["spans"], row["next"]) if row else (0, 0)


async def spans(tx: Transaction, job_id: str, together: int) -> list[Record]:
    """List what was summed up, so many spans in one."""
    return await tx.fetch(SPANS, job_id, together)


async def steps_from(tx: Transaction, job_id: str, step: int) -> list[Record]:
    """List the figures of single steps."""
    return await tx.fetch(STEPS_FROM, job_id, step)
