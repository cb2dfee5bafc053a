"""Tenants and their API keys."""

from asyncpg import Record

from libs.db import Transaction

KEY = """
    SELECT tenant, digest, role
      FROM gateway.api_key
     WHERE prefix = $1
       AND revoked_at IS NULL
"""
ANY_KEY = "SELECT EXISTS (SELECT FROM gateway.api_key WHERE revoked_at IS NULL)"
ADD_TENANT = """
    INSERT INTO gateway.tenant (tenant)
    VALUES ($1)
        ON CONFLICT DO NOTHING
"""
ADD_KEY = """
    INSERT INTO gateway.api_key (prefix, tenant, name, role, digest)
    VALUES ($1, $2, $3, $4, $5)
"""
REVOKE_KEY = "UPDATE gateway.api_key SET revoked_at = now() WHERE prefix = $1 AND revoked_at IS NULL RETURNING prefix"


async def key(tx: Transaction, prefix: str) -> Record | None:
    """Find a key that holds, by its public part."""
    return await tx.fetchrow(KEY, prefix)


async def any_key(tx: Transaction) -> bool:
    """Say whether the tenant has a key that holds."""
    return bool(await tx.fetchval(ANY_KEY))


async def add_tenant(tx: Transaction) -> None:
    """Enter the transaction's tenant."""
    await tx.execute(ADD_TENANT, tx.tenant)


async def add_key(tx: Transaction, prefix: str, name: str, role: str, digest: bytes) -> None:
    """Enter a key."""
    await tx.execute(ADD_KEY, prefix, tx.tenant, name, role, digest)


async def revoke_key(tx: Transaction, prefix: str) -> bool:
    """Make a key void. ``False``: there is no such key, or it is void already."""
    return await tx.fetchval(REVOKE_KEY, prefix) is not None
