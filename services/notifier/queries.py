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
from services.notifier.domain.notice import Fact, about, subject
from services.notifier.domain.preferences import Planned, Recipient

OWE = """
    INSERT INTO notifier.notice
           (notice_id, tenant, job_id, channel, about, fact, due_at, recipient, digest, instead_of, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $11 THEN 'waiting' ELSE 'unwanted' END)
        ON CONFLICT (tenant, job_id, channel, recipient, about) DO UPDATE
       SET state = 'waiting', due_at = excluded.due_at, instead_of = excluded.instead_of, digest = false
     WHERE notice.state = 'unwanted' AND excluded.instead_of <> ''
 RETURNING notice_id
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
 RETURNING notice_id, tenant, job_id, channel, about, fact, tries, recipient, digest, instead_of
"""
TAKE_REST = """
    UPDATE notifier.notice
       SET tries = tries + 1, due_at = $5
     WHERE notice_id IN (
               SELECT notice_id
                 FROM notifier.notice
                WHERE tenant = $1 AND channel = $2 AND recipient = $3
                  AND digest AND state = 'waiting' AND due_at <= $4
                  FOR UPDATE SKIP LOCKED
           )
 RETURNING notice_id, tenant, job_id, channel, about, fact, tries, recipient, digest, instead_of
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
    SELECT notice_id, tenant, job_id, channel, about, fact, tries, recipient, digest, instead_of
      FROM notifier.notice
     WHERE state = 'waiting' AND channel <> ALL($1)
       FOR UPDATE SKIP LOCKED
"""
SET_RECIPIENT = """
    INSERT INTO notifier.recipient (recipient_id, tenant, version, removed, wishes)
    VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (recipient_id) DO UPDATE
       SET version = excluded.version, removed = excluded.removed, wishes = excluded.wishes
     WHERE recipient.version < excluded.version
"""
RECIPIENTS = "SELECT wishes FROM notifier.recipient WHERE NOT removed ORDER BY recipient_id"
RECIPIENT = "SELECT wishes FROM notifier.recipient WHERE recipient_id = $1 AND NOT removed"


class Owed(Struct, frozen=True, kw_only=True):
    """A notice that waits for delivery; ``tries`` counts this one."""

    notice_id: str
    tenant: str
    job_id: str
    channel: str
    about: str
    fact: Fact
    tries: int
    recipient: str = ""
    digest: bool = False
    instead_of: str = ""


async def owe(tx: Transaction, fact: Fact, plan: Planned) -> bool:
    """Write down a notice. ``False``: it stands already, and stays as it is."""
    text = encode(fact).decode()
    named = (new_id("notice"), fact.tenant, subject(fact), plan.channel, about(fact), text)
    how = (plan.due_at, plan.recipient, plan.digest, plan.instead_of, plan.wanted)
    return await tx.fetchval(OWE, *named, *how) is not None


async def take_due(tx: Transaction, channel: str, at: datetime, lease: timedelta) -> list[Owed]:
    """Take the notice of a channel that is due longest, of a digest all; nobody else takes them within the lease."""
    row = await tx.fetchrow(TAKE_DUE, channel, at, at + lease)
    if row is None:
        return []
    rest = await _rest(tx, row, at, lease) if row["digest"] else []
    return [_owed(each) for each in (row, *rest)]


async def _rest(tx: Transaction, row: Any, at: datetime, lease: timedelta) -> list[Any]:
    """Take what else is due in the same digest."""
    return await tx.fetch(TAKE_REST, row["tenant"], row["channel"], row["recipient"], at, at + lease)


async def delay(tx: Transaction, owed: Owed, due_at: datetime, reason: str) -> None:
    """Try again later."""
    await tx.execute(DELAY, owed.notice_id, owed.tries, due_at, reason)


async def settle(tx: Transaction, owed: Owed, state: str, at: datetime, *, reason: str = "", said: str = "") -> bool:
    """Write down what became of a notice. ``False``: somebody took it over since."""
    return await tx.fetchval(SETTLE, owed.notice_id, owed.tries, state, reason, said, at) is not None


async def set_recipient(tx: Transaction, version: int, recipient: Recipient, *, removed: bool = False) -> None:
    """Take somebody's wishes as they are now; older ones change nothing."""
    wishes = encode(recipient).decode()
    await tx.execute(SET_RECIPIENT, recipient.recipient_id, tx.tenant, version, removed, wishes)


async def recipients(tx: Transaction) -> list[Recipient]:
    """List everybody the tenant named."""
    return [msgspec.json.decode(row["wishes"], type=Recipient) for row in await tx.fetch(RECIPIENTS)]


async def recipient(tx: Transaction, recipient_id: str) -> Recipient | None:
    """Find somebody who is told."""
    wishes = await tx.fetchval(RECIPIENT, recipient_id)
    return msgspec.json.decode(wishes, type=Recipient) if wishes else None


async def stranded(tx: Transaction, channels: list[str]) -> list[Owed]:
    """Read and lock the notices that wait for a channel which is not among these."""
    return [_owed(row) for row in await tx.fetch(STRANDED, channels)]


def _owed(row: Any) -> Owed:
    return Owed(**(dict(row) | {"fact": msgspec.json.decode(row["fact"], type=Fact)}))
