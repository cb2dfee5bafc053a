"""Datasets as clients see them, projected from the dataset service's facts."""

from collections.abc import Sequence

import msgspec
from asyncpg import Record

from contracts.datasets import DatasetAsked, DatasetReady, DatasetRefused
from libs.db import Transaction

ADD = """
    INSERT INTO gateway.dataset (
        dataset_id, tenant, file_id, validation_file, filename, base_model, format, split, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT DO NOTHING
 RETURNING dataset_id
"""
GET = "SELECT * FROM gateway.dataset WHERE dataset_id = $1"
NEWEST_FIRST = """
    SELECT *
      FROM gateway.dataset
     WHERE ($1::text IS NULL
            OR (created_at, dataset_id) < (SELECT created_at, dataset_id FROM gateway.dataset WHERE dataset_id = $1))
  ORDER BY created_at DESC, dataset_id DESC
     LIMIT $2
"""
READY = """
    UPDATE gateway.dataset
       SET state = 'ready', format = $2, figures = $3, problems = $4, problem_count = $5,
           finished_at = $6, refusal = NULL, progress = NULL
     WHERE dataset_id = $1
"""
REFUSED = """
    UPDATE gateway.dataset
       SET state = 'refused', refusal = $2, problems = $3, problem_count = $4, finished_at = $5, progress = NULL
     WHERE dataset_id = $1
"""
PROGRESSED = """
    UPDATE gateway.dataset
       SET state = 'importing', progress = $2
     WHERE dataset_id = $1
       AND state IN ('asked', 'importing')
"""

_NOT_FIGURES = {"tenant", "at", "version", "dataset_id", "format", "problems", "problem_count", "type", "uri"}


async def add(tx: Transaction, asked: DatasetAsked, filename: str, validation_file: str | None) -> bool:
    """Enter a dataset that was asked for. ``False``: it was asked for before."""
    return (
        await tx.fetchval(
            ADD,
            asked.dataset_id,
            asked.tenant,
            asked.file_id,
            validation_file,
            filename,
            asked.base_model,
            asked.format,
            _json(asked.split),
            asked.at,
        )
        is not None
    )


async def get(tx: Transaction, dataset_id: str) -> Record | None:
    """Find a dataset."""
    return await tx.fetchrow(GET, dataset_id)


async def newest_first(tx: Transaction, after: str | None, limit: int) -> list[Record]:
    """List datasets, the latest first."""
    return await tx.fetch(NEWEST_FIRST, after, limit)


async def ready(tx: Transaction, fact: DatasetReady) -> None:
    """Note that a dataset can be trained on, and its figures."""
    figures = {name: value for name, value in msgspec.to_builtins(fact).items() if name not in _NOT_FIGURES}
    await tx.execute(
        READY, fact.dataset_id, fact.format, _json(figures), _json(fact.problems), fact.problem_count, fact.at
    )


async def refused(tx: Transaction, fact: DatasetRefused) -> None:
    """Note that a file cannot become a dataset, and why."""
    refusal = {"code": fact.code, "message": fact.message}
    await tx.execute(REFUSED, fact.dataset_id, _json(refusal), _json(fact.problems), fact.problem_count, fact.at)


async def progressed(tx: Transaction, progress: Sequence[tuple[str, str]]) -> None:
    """Note how far imports are: pairs of dataset id and JSON."""
    await tx.executemany(PROGRESSED, progress)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
