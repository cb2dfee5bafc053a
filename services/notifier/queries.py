"""The notifier's SQL: one function, one statement.

A notice is delivered under a lease: ``take_due`` moves its due time ahead and counts the try, so no other
process sends it meanwhile, and the number of the try is the fence without which nothing is written back.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from contracts.base import encode, new_id
from libs.db import Transaction
from services.notifier.domain.notice import Fact, about

OWE = """
    INSERT INTO notifier.notice (notice_id, tenant, job_id, channel, about, fact, due_at)
    VALUES ($1, $2, $3, $4, $5, $6, now())
        ON CONFLICT (tenant, job_id, channel, about) DO NOTHING
"""
TAKE_DUE = """
    UPDATE notifier.notice
       SET tries = tries + 1, due_at = $3
     WHERE notice_id = (
               SELECT notice_id
                 FROM notifier.notice
                WHERE channel = $1 AND state = 'waiting' AND due_at <= $2
                ORDER BY due_at
                LIMIT 1
                  FOR UPDATE SKIP LOCKED
           )
 RETURNING notice_id, tenant, job_id, channel, about, fact, tries
"""
DELAY = """
    UPDATE notifier.notice
       SET due_at = $3, reason = $4
     WHERE notice_id = $1 AND tries = $2 AND state = 'waiting'
"""
SETTLE = """
    UPDATE notifier.notice
       SET state = $3, reason = $4, said = $5, settled_at = $6
     WHERE notice_id = $1 AND tries = $2 AND state = 'waiting'
 RETURNING notice_id
"""
STRANDED = """
    SELECT notice_id, tenant, job_id, channel, about, fact, tries
      FROM notifier.notice
     WHERE state = 'waiting' AND channel <> ALL($1)
       FOR UPDATE SKIP LOCKED
"""


class Owed(Struct, frozen=True, kw_only=True):
    """A notice that waits for delivery; ``tries`` counts this one."""

    notice_id: str
    tenant: str
    job_id: str
    channel: str
    about: str
    fact: Fact
    tries: int


async def owe(tx: Transaction, fact: Fact, channel: str) -> None:
    """Write down a notice; one that stands already stays as it is."""
    text = encode(fact).decode()
    await tx.execute(OWE, new_id("notice"), fact.tenant, fact.job_id, channel, about(fact), text)


async def take_due(tx: Transaction, channel: str, at: datetime, lease: timedelta) -> Owed | None:
    """Take the notice of a channel that is due longest; nobody else takes it before the lease is over."""
    row = await tx.fetchrow(TAKE_DUE, channel, at, at + lease)
    return _owed(row) if row else None


async def delay(tx: Transaction, owed: Owed, due_at: datetime, reason: str) -> None:
    """Try again later."""
    await tx.execute(DELAY, owed.notice_id, owed.tries, due_at, reason)


async def settle(tx: Transaction, owed: Owed, state: str, at: datetime, *, reason: str = "", said: str = "") -> bool:
    """Write down what became of a notice. ``False``: somebody took it over since."""
    return await tx.fetchval(SETTLE, owed.notice_id, owed.tries, state, reason, said, at) is not None


async def stranded(tx: Transaction, channels: list[str]) -> list[Owed]:
    """Read and lock the notices that wait for a channel which is not among these."""
    return [_owed(row) for row in await tx.fetch(STRANDED, channels)]


def _owed(row: Any) -> Owed:
    return Owed(**(dict(row) | {"fact": msgspec.json.decode(row["fact"], type=Fact)}))
