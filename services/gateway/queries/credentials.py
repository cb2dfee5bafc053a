"""Event credentials. What was revoked or expired stays on record."""

from datetime import datetime

from asyncpg import Record

from libs.db import Transaction

ADD = """
    INSERT INTO gateway.event_credential (credential_id, tenant, member_id, name, digest, made_by, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
 RETURNING *
"""
GET = "SELECT * FROM gateway.event_credential WHERE credential_id = $1"
NEWEST_FIRST = """
    SELECT *
      FROM gateway.event_credential
     WHERE $1::text IS NULL OR credential_id < $1
  ORDER BY credential_id DESC
     LIMIT $2
"""
REVOKE = """
    UPDATE gateway.event_credential
       SET revoked_at = now()
     WHERE credential_id = $1
       AND revoked_at IS NULL
 RETURNING credential_id
"""
REVOKE_OF = """
    UPDATE gateway.event_credential
       SET revoked_at = now()
     WHERE member_id = $1
       AND revoked_at IS NULL
 RETURNING credential_id
"""
ADMIT = """
    UPDATE gateway.event_credential
       SET connected_at = now()
     WHERE credential_id = $1
       AND digest = $2
       AND revoked_at IS NULL
       AND coalesce(expires_at > now(), true)
 RETURNING tenant, expires_at
"""
HOLDING = """
    SELECT credential_id
      FROM gateway.event_credential
     WHERE credential_id = ANY($1)
       AND revoked_at IS NULL
       AND coalesce(expires_at > now(), true)
"""


async def add(
    tx: Transaction, credential_id: str, member: str, name: str, digest: bytes, made_by: str, until: datetime | None
) -> Record:
    """Enter credentials of a member."""
    row: Record | None = await tx.fetchrow(ADD, credential_id, tx.tenant, member, name, digest, made_by, until)
    assert row is not None
    return row


async def get(tx: Transaction, credential_id: str) -> Record | None:
    """Find credentials."""
    return await tx.fetchrow(GET, credential_id)


async def newest_first(tx: Transaction, after: str | None, limit: int) -> list[Record]:
    """List credentials, the latest first."""
    return await tx.fetch(NEWEST_FIRST, after, limit)


async def revoke(tx: Transaction, credential_id: str) -> bool:
    """Make credentials void. ``False``: there are none such, or they are void already."""
    return await tx.fetchval(REVOKE, credential_id) is not None


async def revoke_of(tx: Transaction, member_id: str) -> list[str]:
    """Make all credentials of a member void; return which."""
    return [row["credential_id"] for row in await tx.fetch(REVOKE_OF, member_id)]


async def admit(tx: Transaction, credential_id: str, digest: bytes) -> Record | None:
    """Note that somebody came in, and say for whom and until when; ``None``: these credentials do not hold."""
    return await tx.fetchrow(ADMIT, credential_id, digest)


async def holding(tx: Transaction, credential_ids: list[str]) -> set[str]:
    """Say which of these hold now."""
    return {row["credential_id"] for row in await tx.fetch(HOLDING, credential_ids)}
