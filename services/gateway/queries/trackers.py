"""The organisation's own key for Weights & Biases, sealed."""

from asyncpg import Record

from libs.db import Transaction

KEY = "SELECT tenant, sealed FROM gateway.wandb_key"
SET_KEY = """
    INSERT INTO gateway.wandb_key (tenant, sealed)
    VALUES ($1, $2)
        ON CONFLICT (tenant) DO UPDATE SET sealed = excluded.sealed
"""
REMOVE_KEY = "DELETE FROM gateway.wandb_key"


async def key(tx: Transaction) -> Record | None:
    """Find the organisation's key."""
    return await tx.fetchrow(KEY)


async def set_key(tx: Transaction, sealed: str) -> None:
    """Keep a key, instead of the one before."""
    await tx.execute(SET_KEY, tx.tenant, sealed)


async def remove_key(tx: Transaction) -> None:
    """Forget the key."""
    await tx.execute(REMOVE_KEY)
