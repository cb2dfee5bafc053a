"""The audit log, which is only ever added to."""

from typing import Any

from asyncpg import Record

from libs.db import Transaction
from services.gateway.domain.chain import Entry, Sealed

HEAD = "SELECT audited, audit_head FROM gateway.tenant WHERE tenant = $1 FOR NO KEY UPDATE"
END = "SELECT audited, audit_head FROM gateway.tenant WHERE tenant = $1"
ADD = """
    WITH entry AS (
        INSERT INTO gateway.audit
               (tenant, number, at, actor, via, action, about, details, origin, request_id, previous, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    )
    UPDATE gateway.tenant SET audited = $2, audit_head = $12 WHERE tenant = $1
"""
NEWEST_FIRST = """
    SELECT tenant, number, at, actor, via, action, about, details, origin, request_id, previous, hash
      FROM gateway.audit
     WHERE number < coalesce($1, 9223372036854775807)
     ORDER BY number DESC
     LIMIT $2
"""
IN_ORDER = """
    SELECT tenant, number, at, actor, via, action, about, details, origin, request_id, previous, hash
      FROM gateway.audit
     WHERE number > $1
       AND number <= $2
     ORDER BY number
     LIMIT $3
"""


async def hold_head(tx: Transaction) -> Record:
    """Return how the log ends, and let nobody else add to it until this transaction is over."""
    return _there(await tx.fetchrow(HEAD, tx.tenant))


async def end(tx: Transaction) -> Record:
    """Return how the log ends."""
    return _there(await tx.fetchrow(END, tx.tenant))


async def add(tx: Transaction, sealed: Sealed) -> None:
    """Add an entry; the log then ends with it."""
    entry = sealed.entry
    await tx.execute(
        ADD, entry.tenant, entry.number, entry.at, entry.actor, entry.via, entry.action, entry.about, entry.details,
        entry.origin, entry.request_id, sealed.previous, sealed.hash,
    )  # fmt: skip


async def newest_first(tx: Transaction, before: int | None, limit: int) -> list[Record]:
    """List entries, the latest first."""
    return await tx.fetch(NEWEST_FIRST, before, limit)


async def in_order(tx: Transaction, after: int, last: int, limit: int) -> list[Record]:
    """List entries behind a number up to another, the first first."""
    return await tx.fetch(IN_ORDER, after, last, limit)


def sealed_of(row: Any) -> Sealed:
    """Read an entry from its row."""
    return Sealed(Entry(**{name: row[name] for name in Entry.__struct_fields__}), row["previous"], row["hash"])


def _there(row: Record | None) -> Record:
    assert row is not None
    return row
