"""Tenants and their API keys."""

from datetime import datetime

from asyncpg import Record

from libs.db import Database, Transaction

KEY = "SELECT * FROM gateway.key_holder($1)"
ANY_KEY = """
    SELECT EXISTS (
        SELECT FROM gateway.api_key
         WHERE revoked_at IS NULL
           AND coalesce(expires_at > now(), true))
"""
ADD_TENANT = """
    INSERT INTO gateway.tenant (tenant)
    VALUES ($1)
        ON CONFLICT DO NOTHING
"""
ADD_KEY = """
    INSERT INTO gateway.api_key (prefix, tenant, name, digest, member_id, scopes, expires_at, made_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
LISTED = """
    SELECT k.prefix, k.name, k.member_id, m.role, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.revoked_at,
           k.made_by, k.rotated_to
      FROM gateway.api_key k
      JOIN gateway.member m USING (member_id)
     WHERE ($1::text IS NULL OR k.member_id = $1)
     ORDER BY k.created_at, k.prefix
"""
GET = """
    SELECT k.prefix, k.name, k.member_id, m.role, k.scopes, k.created_at, k.expires_at, k.last_used_at, k.revoked_at,
           k.made_by, k.rotated_to
      FROM gateway.api_key k
      JOIN gateway.member m USING (member_id)
     WHERE k.prefix = $1
       AND ($2::text IS NULL OR k.member_id = $2)
       FOR NO KEY UPDATE OF k
"""
REVOKE_KEY = "UPDATE gateway.api_key SET revoked_at = now() WHERE prefix = $1 AND revoked_at IS NULL RETURNING prefix"
REVOKE_OF = """
    UPDATE gateway.api_key
       SET revoked_at = now()
     WHERE member_id = $1
       AND revoked_at IS NULL
 RETURNING prefix
"""
END_ROTATED = "UPDATE gateway.api_key SET expires_at = $2, rotated_to = $3 WHERE prefix = $1"
USED = """
    UPDATE gateway.api_key
       SET last_used_at = used.at
      FROM unnest($1::text[], $2::timestamptz[]) AS used (prefix, at)
     WHERE api_key.prefix = used.prefix
"""


async def key(db: Database, prefix: str) -> Record | None:
    """Find a key by its public part, with the role of its member; whether it still holds is for the domain."""
    return await db.ask(KEY, prefix)


async def any_key(tx: Transaction) -> bool:
    """Say whether the tenant has a key that holds."""
    return bool(await tx.fetchval(ANY_KEY))


async def add_tenant(tx: Transaction) -> None:
    """Enter the transaction's tenant."""
    await tx.execute(ADD_TENANT, tx.tenant)


async def add_key(
    tx: Transaction,
    prefix: str,
    name: str,
    digest: bytes,
    member_id: str,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
    made_by: str | None = None,
) -> None:
    """Enter a key of a member; ``made_by`` is the public part of the key that made it."""
    await tx.execute(ADD_KEY, prefix, tx.tenant, name, digest, member_id, scopes, expires_at, made_by)


async def listed(tx: Transaction, member_id: str | None) -> list[Record]:
    """List keys, the first first: a member's, or everybody's."""
    return await tx.fetch(LISTED, member_id)


async def get(tx: Transaction, prefix: str, member_id: str | None) -> Record | None:
    """Find and hold a key: a member's, or anybody's."""
    return await tx.fetchrow(GET, prefix, member_id)


async def revoke_key(tx: Transaction, prefix: str) -> bool:
    """Make a key void. ``False``: there is no such key, or it is void already."""
    return await tx.fetchval(REVOKE_KEY, prefix) is not None


async def revoke_of(tx: Transaction, member_id: str) -> list[str]:
    """Make every key of a member void; return their public parts."""
    return [row["prefix"] for row in await tx.fetch(REVOKE_OF, member_id)]


async def end_rotated(tx: Transaction, prefix: str, at: datetime, successor: str) -> None:
    """Let a key end when its successor has taken over."""
    await tx.execute(END_ROTATED, prefix, at, successor)


async def used(tx: Transaction, last: dict[str, datetime]) -> None:
    """Write down when keys were last used."""
    await tx.execute(USED, list(last), list(last.values()))
