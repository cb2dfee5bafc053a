"""What a job tells while it lives: lines, checkpoints, figures by step; and which facts are news."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncpg import Record

from contracts.base import Event, aggregate_of
from contracts.runs import CheckpointCommitted
from libs.db import Transaction

NEWEST = """
    INSERT INTO gateway.newest (aggregate, teller, tenant, version)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT (aggregate, teller) DO UPDATE SET version = excluded.version
     WHERE newest.version < excluded.version
 RETURNING version
"""
ADD_LINE = """
    INSERT INTO gateway.job_event (event_id, tenant, job_id, at, level, message)
    SELECT $1, tenant, job_id, $3, $4, $5
      FROM gateway.job
     WHERE job_id = $2
        ON CONFLICT DO NOTHING
"""
LINES = """
    SELECT *
      FROM gateway.job_event
     WHERE job_id = $1
       AND ($2::text IS NULL OR event_id < $2)
  ORDER BY event_id DESC
     LIMIT $3
"""
ADD_CHECKPOINT = """
    INSERT INTO gateway.checkpoint (checkpoint_id, tenant, job_id, at, step, fence, loss, eval_loss)
    SELECT $1, tenant, job_id, $3, $4, $5, $6, $7
      FROM gateway.job
     WHERE job_id = $2
        ON CONFLICT DO NOTHING
"""
CHECKPOINTS = """
    SELECT checkpoint.*, job.model, job.suffix, metric.train_mean_token_accuracy AS token_accuracy,
           metric.valid_mean_token_accuracy AS valid_accuracy
      FROM gateway.checkpoint
      JOIN gateway.job USING (job_id)
 LEFT JOIN gateway.metric ON metric.job_id = checkpoint.job_id AND metric.step = checkpoint.step
     WHERE checkpoint.job_id = $1
       AND job.model_deleting_at IS NULL
       AND ($2::text IS NULL OR checkpoint_id < $2)
  ORDER BY checkpoint_id DESC
     LIMIT $3
"""
ADD_METRIC = """
    INSERT INTO gateway.metric (
        job_id, tenant, step, attempt, at, epoch, train_loss, learning_rate, grad_norm, tokens, tokens_per_second,
        memory_bytes, train_mean_token_accuracy, valid_loss, reward_margin, reward_accuracy,
        valid_mean_token_accuracy)
    SELECT job_id, tenant, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
      FROM gateway.job
     WHERE job_id = $1
        ON CONFLICT (job_id, step) DO UPDATE
       SET attempt = excluded.attempt, at = excluded.at, epoch = excluded.epoch, train_loss = excluded.train_loss,
           learning_rate = excluded.learning_rate, grad_norm = excluded.grad_norm, tokens = excluded.tokens,
           tokens_per_second = excluded.tokens_per_second, memory_bytes = excluded.memory_bytes,
           train_mean_token_accuracy = excluded.train_mean_token_accuracy,
           valid_loss = coalesce(excluded.valid_loss, metric.valid_loss),
           valid_mean_token_accuracy = coalesce(excluded.valid_mean_token_accuracy, metric.valid_mean_token_accuracy),
           reward_margin = excluded.reward_margin, reward_accuracy = excluded.reward_accuracy
     WHERE metric.attempt <= excluded.attempt
"""
METRICS = "SELECT * FROM gateway.metric WHERE job_id = $1 ORDER BY step"
METRICS_AFTER = """
    SELECT metric.*, (SELECT at FROM gateway.metric WHERE job_id = $1 ORDER BY step LIMIT 1) AS began
      FROM gateway.metric
     WHERE job_id = $1
       AND step > $2
  ORDER BY step
     LIMIT $3
"""
PROGRESSED = """
    UPDATE gateway.job
       SET progress = $2, progress_at = $3
     WHERE job_id = $1
       AND (progress_at IS NULL OR progress_at < $3)
"""
TELEMETRY_READ = "SELECT sequence FROM gateway.telemetry_read"
SET_TELEMETRY_READ = """
    INSERT INTO gateway.telemetry_read (sequence)
    VALUES ($1)
        ON CONFLICT (single) DO UPDATE SET sequence = excluded.sequence
     WHERE telemetry_read.sequence < excluded.sequence
"""


async def is_newest(tx: Transaction, fact: Event, teller: str) -> bool:
    """Say whether no later fact of the same aggregate, by the same service, was seen; remember this one."""
    return await tx.fetchval(NEWEST, aggregate_of(fact), teller, fact.tenant, fact.version) is not None


async def add_line(tx: Transaction, event_id: str, job_id: str, at: datetime, level: str, message: str) -> None:
    """Add a line to a job's story, once."""
    await tx.execute(ADD_LINE, event_id, job_id, at, level, message)


async def lines(tx: Transaction, job_id: str, after: str | None, limit: int) -> list[Record]:
    """List a job's story, the latest first."""
    return await tx.fetch(LINES, job_id, after, limit)


async def add_checkpoint(tx: Transaction, checkpoint_id: str, fact: CheckpointCommitted) -> None:
    """Enter a checkpoint, once."""
    await tx.execute(
        ADD_CHECKPOINT, checkpoint_id, fact.job_id, fact.at, fact.step, fact.fence, fact.loss, fact.eval_loss
    )


async def checkpoints(tx: Transaction, job_id: str, after: str | None, limit: int) -> list[Record]:
    """List a job's checkpoints, the latest first."""
    return await tx.fetch(CHECKPOINTS, job_id, after, limit)


async def add_metrics(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> None:
    """Enter figures by step; a step trained again by a later attempt replaces the earlier one's."""
    await tx.executemany(ADD_METRIC, rows)


async def metrics(tx: Transaction, job_id: str) -> list[Record]:
    """List a job's figures by step."""
    return await tx.fetch(METRICS, job_id)


async def metrics_after(tx: Transaction, job_id: str, step: int, limit: int) -> list[Record]:
    """List a job's figures of the steps after one, each with when the first of all was measured."""
    return await tx.fetch(METRICS_AFTER, job_id, step, limit)


async def progressed(tx: Transaction, rows: Sequence[tuple[str, str, datetime]]) -> None:
    """Note the newest look at runs: job id, JSON and time."""
    await tx.executemany(PROGRESSED, rows)


async def telemetry_read(tx: Transaction) -> int:
    """Return the sequence up to which telemetry has been read."""
    return await tx.fetchval(TELEMETRY_READ) or 0


async def set_telemetry_read(tx: Transaction, sequence: int) -> None:
    """Note up to where telemetry has been read."""
    await tx.execute(SET_TELEMETRY_READ, sequence)
