"""Uploads in parts: what was announced, what has come, and what of it can go."""

from datetime import datetime

from asyncpg import Record

from libs.db import Transaction

ADD = """
    INSERT INTO gateway.upload (upload_id, tenant, filename, purpose, size, lifetime, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
 RETURNING *
"""
GET = "SELECT * FROM gateway.upload WHERE upload_id = $1"
HOLD = "SELECT * FROM gateway.upload WHERE upload_id = $1 FOR UPDATE"
ADD_PART = """
    INSERT INTO gateway.upload_part (part_id, tenant, upload_id, uri, size, sha256, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
 RETURNING *
"""
PARTS = "SELECT * FROM gateway.upload_part WHERE upload_id = $1"
RECEIVED = "SELECT coalesce(sum(size), 0)::bigint FROM gateway.upload_part WHERE upload_id = $1"
COMPLETE = "UPDATE gateway.upload SET status = 'completed', file_id = $2 WHERE upload_id = $1 RETURNING *"
CANCEL = "UPDATE gateway.upload SET status = 'cancelled' WHERE upload_id = $1 RETURNING *"
EXPIRE = "UPDATE gateway.upload SET status = 'expired' WHERE status = 'pending' AND expires_at < $1"
ENDED = """
    SELECT tenant, upload_id
      FROM gateway.upload
     WHERE swept_at IS NULL
       AND status <> 'pending'
     LIMIT 100
"""
FORGET_PARTS = "DELETE FROM gateway.upload_part WHERE upload_id = $1"
SWEPT = "UPDATE gateway.upload SET swept_at = now() WHERE upload_id = $1"


async def add(
    tx: Transaction,
    upload_id: str,
    filename: str,
    purpose: str,
    size: int,
    lifetime: int | None,
    at: datetime,
    expires_at: datetime,
) -> Record:
    """Enter an upload that was announced."""
    row: Record | None = await tx.fetchrow(ADD, upload_id, tx.tenant, filename, purpose, size, lifetime, at, expires_at)
    assert row is not None
    return row


async def get(tx: Transaction, upload_id: str) -> Record | None:
    """Find an upload."""
    return await tx.fetchrow(GET, upload_id)


async def hold(tx: Transaction, upload_id: str) -> Record | None:
    """Find an upload, and let nobody else change it until this transaction ends."""
    return await tx.fetchrow(HOLD, upload_id)


async def add_part(
    tx: Transaction, part_id: str, upload_id: str, uri: str, size: int, sha256: str, at: datetime
) -> Record:
    """Enter a part that is safe in storage."""
    row: Record | None = await tx.fetchrow(ADD_PART, part_id, tx.tenant, upload_id, uri, size, sha256, at)
    assert row is not None
    return row


async def parts(tx: Transaction, upload_id: str) -> list[Record]:
    """List the parts that have come."""
    return await tx.fetch(PARTS, upload_id)


async def received(tx: Transaction, upload_id: str) -> int:
    """Return how many bytes all parts have together."""
    return int(await tx.fetchval(RECEIVED, upload_id))


async def complete(tx: Transaction, upload_id: str, file_id: str) -> Record:
    """Note which file the upload became."""
    row: Record | None = await tx.fetchrow(COMPLETE, upload_id, file_id)
    assert row is not None
    return row


async def cancel(tx: Transaction, upload_id: str) -> Record:
    """Note that nobody wants the upload."""
    row: Record | None = await tx.fetchrow(CANCEL, upload_id)
    assert row is not None
    return row


async def expire(tx: Transaction, before: datetime) -> None:
    """End what was left open and ran out before a time."""
    await tx.execute(EXPIRE, before)


async def ended(tx: Transaction) -> list[Record]:
    """List up to 100 uploads whose parts nobody needs any more."""
    return await tx.fetch(ENDED)


async def forget_parts(tx: Transaction, upload_id: str) -> None:
    """Drop the rows of parts whose bytes are gone."""
    await tx.execute(FORGET_PARTS, upload_id)
    await tx.execute(SWEPT, upload_id)
