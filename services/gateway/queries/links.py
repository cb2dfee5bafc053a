"""Links that download one object. One that expired or was revoked stays on record."""

from datetime import datetime

from asyncpg import Record

from libs.db import Transaction
from services.gateway.domain.links import Bound

ADD = """
    INSERT INTO gateway.link (link_id, tenant, kind, owner, part, sha256, expires_at, made_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
 RETURNING *
"""
GET = "SELECT * FROM gateway.link WHERE link_id = $1"
NEWEST_FIRST = """
    SELECT *
      FROM gateway.link
     WHERE $1::text IS NULL OR link_id < $1
  ORDER BY link_id DESC
     LIMIT $2
"""
REVOKE = """
    UPDATE gateway.link
       SET revoked_at = coalesce(revoked_at, now())
     WHERE link_id = $1
 RETURNING *
"""
USE = """
    UPDATE gateway.link
       SET used_at = now(), downloads = downloads + $2
     WHERE link_id = $1 AND revoked_at IS NULL
 RETURNING link_id
"""


async def add(tx: Transaction, link_id: str, bound: Bound, expires_at: datetime, made_by: str) -> Record:
    """Enter a link."""
    named = (bound.kind, bound.owner, bound.part, bound.sha256)
    row: Record | None = await tx.fetchrow(ADD, link_id, bound.tenant, *named, expires_at, made_by)
    assert row is not None
    return row


async def get(tx: Transaction, link_id: str) -> Record | None:
    """Find a link."""
    return await tx.fetchrow(GET, link_id)


async def newest_first(tx: Transaction, after: str | None, limit: int) -> list[Record]:
    """List links, the latest first."""
    return await tx.fetch(NEWEST_FIRST, after, limit)


async def revoke(tx: Transaction, link_id: str) -> Record | None:
    """Make a link void; ``None``: there is none."""
    return await tx.fetchrow(REVOKE, link_id)


async def use(tx: Transaction, link_id: str, begun: int) -> bool:
    """Note a use, and ``begun`` downloads more. ``False``: it was revoked in this very moment."""
    return await tx.fetchval(USE, link_id, begun) is not None
