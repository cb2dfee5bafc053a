"""The dataset service's SQL: one function, one statement."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from contracts.datasets import DatasetAsked, DatasetReady, DatasetRefused, SplitPlan
from libs.db import Transaction
from services.dataset.domain.imports import Taken

ADD = """
    INSERT INTO dataset.dataset (tenant, dataset_id, file_id, uri, sha256, validation_uri, validation_sha256,
                                 base_model, format, max_length, split, asked_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT DO NOTHING
"""
MARK_SOURCE_DELETED = """
    UPDATE dataset.dataset
       SET source_deleted_at = $2
     WHERE (file_id = $1 OR split_part(validation_uri, '/', 3) = $1) AND source_deleted_at IS NULL
"""
TAKE = """
    UPDATE dataset.dataset
       SET state = 'importing', fence = fence + 1, lease_until = now() + $1
     WHERE (tenant, dataset_id) = (
               SELECT tenant, dataset_id
                 FROM dataset.dataset
                WHERE state IN ('asked', 'importing') AND lease_until <= now()
                ORDER BY asked_at
                LIMIT 1
                  FOR UPDATE SKIP LOCKED)
 RETURNING tenant, dataset_id, uri, sha256, validation_uri, validation_sha256,
           base_model, format, max_length, split, fence
"""
RENEW = """
    UPDATE dataset.dataset
       SET lease_until = now() + $3
     WHERE dataset_id = $1 AND fence = $2 AND state = 'importing'
 RETURNING dataset_id
"""
CRASHED = """
    UPDATE dataset.dataset
       SET crashes = crashes + 1
     WHERE dataset_id = $1 AND fence = $2 AND state = 'importing'
 RETURNING crashes
"""
SETTLE = """
    UPDATE dataset.dataset
       SET state = $3, digest = $4, outcome = $5, settled_at = $6
     WHERE dataset_id = $1 AND fence = $2 AND state = 'importing'
 RETURNING dataset_id
"""
STANDING = """
    SELECT state, base_model, max_length, outcome ->> 'uri' AS uri, outcome ->> 'message' AS message
      FROM dataset.dataset
     WHERE dataset_id = $1
"""


class Standing(Struct, frozen=True):
    """Where a dataset stands: ``uri`` is its version's folder once it is ready, ``message`` why it was refused."""

    state: str
    base_model: str
    max_length: int
    uri: str | None
    message: str | None


async def add(tx: Transaction, asked: DatasetAsked) -> None:
    """Write down that a dataset is wanted."""
    await tx.execute(
        ADD,
        asked.tenant,
        asked.dataset_id,
        asked.file_id,
        asked.uri,
        asked.sha256,
        asked.validation_uri,
        asked.validation_sha256,
        asked.base_model,
        asked.format,
        asked.max_length,
        _json(asked.split),
        asked.at,
    )


async def mark_source_deleted(tx: Transaction, file_id: str, at: datetime) -> None:
    """Remember that a file's datasets have lost their source."""
    await tx.execute(MARK_SOURCE_DELETED, file_id, at)


async def take(tx: Transaction, lease: float) -> Taken | None:
    """Take the oldest dataset nobody is importing, for ``lease`` seconds; other replicas pass it by."""
    row = await tx.fetchrow(TAKE, timedelta(seconds=lease))
    if row is None:
        return None
    return Taken(**{**row, "split": msgspec.json.decode(row["split"], type=SplitPlan)})


async def renew(tx: Transaction, taken: Taken, lease: float) -> bool:
    """Keep an import for ``lease`` more seconds. ``False``: somebody else has it now, stop working."""
    return await tx.fetchval(RENEW, taken.dataset_id, taken.fence, timedelta(seconds=lease)) is not None


async def crashed(tx: Transaction, taken: Taken) -> int | None:
    """Count an import process that died; return how many have, None when somebody else has the import now."""
    crashes: int | None = await tx.fetchval(CRASHED, taken.dataset_id, taken.fence)
    return crashes


async def settle(tx: Transaction, taken: Taken, fact: DatasetReady | DatasetRefused) -> bool:
    """Write an import's end. ``False``: somebody else has it now, nothing was written."""
    ready = isinstance(fact, DatasetReady)
    digest = fact.digest if isinstance(fact, DatasetReady) else None
    state = "ready" if ready else "refused"
    settled = await tx.fetchval(SETTLE, taken.dataset_id, taken.fence, state, digest, _json(fact), fact.at)
    return settled is not None


async def standing(tx: Transaction, dataset_id: str) -> Standing | None:
    """Return where a dataset stands; None when there is no such dataset."""
    row = await tx.fetchrow(STANDING, dataset_id)
    return Standing(**row) if row else None


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
