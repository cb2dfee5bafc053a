"""The first organisation, its owner and the owner's key, made once when an installation is provisioned."""

from contracts.base import new_id
from libs.db import Database, Transaction
from services.gateway.domain import keys
from services.gateway.queries import keys as key_queries
from services.gateway.queries import members as member_queries
from services.gateway.trail import hold


async def bootstrap(db: Database, tenant: str, pepper: str) -> str | None:
    """Make the tenant and its owner if they are missing, and a key if it has none that holds.

    Returns the key, which cannot be read again later, or ``None`` when the tenant has one.
    """
    async with db.transaction(tenant) as tx:
        await key_queries.add_tenant(tx)
        if await key_queries.any_key(tx):
            return None
        return await _owners_key(tx, "first key", pepper)


async def another_key(db: Database, tenant: str, name: str, pepper: str) -> str:
    """Make one more key of the first owner, for whoever runs the machine."""
    async with db.transaction(tenant) as tx:
        return await _owners_key(tx, name, pepper)


async def _owners_key(tx: Transaction, name: str, pepper: str) -> str:
    key = keys.new_key()
    await key_queries.add_key(tx, key.prefix, name, keys.digest(pepper, key), await _owner(tx))
    return str(key)


async def _owner(tx: Transaction) -> str:
    """Return the first owner, made if there is none."""
    await hold(tx)
    if owners := await member_queries.owners(tx):
        return owners[0]
    member = new_id("member")
    await member_queries.add(tx, member, "Owner", None, "owner")
    return member
