"""Answers already given, by idempotency key."""

from asyncpg import Record

from libs.db import Transaction

FORGET = "DELETE FROM gateway.idempotency WHERE created_at < now() - interval '24 hours'"
CLAIM = """
    INSERT INTO gateway.idempotency (tenant, key, fingerprint)
    VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING
 RETURNING key
"""
RECLAIM = """
    INSERT INTO gateway.idempotency (tenant, key, fingerprint)
    VALUES ($1, $2, $3)
        ON CONFLICT (tenant, key) DO UPDATE SET answer = NULL, created_at = now()
"""
GIVEN = """
    SELECT fingerprint, answer, created_at > now() - make_interval(secs => $2) AS fresh
      FROM gateway.idempotency
     WHERE key = $1
       FOR UPDATE
"""
ANSWER = "UPDATE gateway.idempotency SET answer = $2 WHERE key = $1"


async def forget_old(tx: Transaction) -> None:
    """Drop what was kept for a day."""
    await tx.execute(FORGET)


async def claim(tx: Transaction, key: str, fingerprint: str) -> bool:
    """Take a key; waits while another request holds it. ``False``: it has been used."""
    return await tx.fetchval(CLAIM, tx.tenant, key, fingerprint) is not None


async def reclaim(tx: Transaction, key: str, fingerprint: str) -> None:
    """Take a key, used or not."""
    await tx.execute(RECLAIM, tx.tenant, key, fingerprint)


async def given(tx: Transaction, key: str, within: float) -> Record:
    """Return what was answered under a key; ``fresh`` if less than ``within`` seconds ago."""
    row: Record | None = await tx.fetchrow(GIVEN, key, within)
    assert row is not None
    return row


async def set_answer(tx: Transaction, key: str, answer: bytes) -> None:
    """Keep an answer under its key."""
    await tx.execute(ANSWER, key, answer)
