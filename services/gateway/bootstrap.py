"""The first organisation and its owner's key, made once when an installation is provisioned."""

from libs.db import Database
from services.gateway.domain import keys
from services.gateway.queries import keys as queries


async def bootstrap(db: Database, tenant: str, pepper: str) -> str | None:
    """Make the tenant if it is missing and a key if it has none.

    Returns the key, which cannot be read again later, or ``None`` when the tenant has one.
    """
    async with db.transaction(tenant) as tx:
        await queries.add_tenant(tx)
        if await queries.any_key(tx):
            return None
        key = keys.new_key()
        await queries.add_key(tx, key.prefix, "first key", "owner", keys.digest(pepper, key))
        return str(key)
