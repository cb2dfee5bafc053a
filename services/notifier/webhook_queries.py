"""The SQL of webhooks: one function, one statement.

A delivery is made under a lease, as a notice is. Its endpoint is taken with it, so that an endpoint is called by one
call at a time and one that hangs holds up no other.
"""

from datetime import datetime, timedelta

from asyncpg import Record
from msgspec import Struct

from contracts.base import new_id
from contracts.webhooks import WebhookSet
from libs.db import Transaction
from services.notifier.domain.webhooks import Message

SET = """
    INSERT INTO notifier.webhook
           (webhook_id, tenant, version, url, events, secret_number, previous_until, hex_signature, enabled)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (webhook_id) DO UPDATE
       SET version = excluded.version, url = excluded.url, events = excluded.events, enabled = excluded.enabled,
           secret_number = excluded.secret_number, previous_until = excluded.previous_until,
           hex_signature = excluded.hex_signature
     WHERE webhook.version < excluded.version
"""
DISABLE = """
    UPDATE notifier.webhook
       SET enabled = false
     WHERE webhook_id = $1 AND version = $2 AND enabled AND ($3::timestamptz IS NULL OR succeeded_at IS NULL OR
           succeeded_at < $3)
 RETURNING webhook_id
"""
INTERESTED = "SELECT webhook_id FROM notifier.webhook WHERE enabled AND $1 = ANY(events) ORDER BY webhook_id"
OWE = """
    INSERT INTO notifier.delivery (delivery_id, tenant, webhook_id, event_id, event_type, job_id, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (webhook_id, event_id) DO NOTHING
"""
TAKE_DUE = """
    WITH due AS (
        SELECT delivery.delivery_id, webhook.webhook_id
          FROM notifier.delivery
          JOIN notifier.webhook USING (webhook_id)
         WHERE delivery.state = 'waiting' AND delivery.due_at <= $1 AND webhook.enabled AND webhook.busy_until <= $1
         ORDER BY delivery.due_at
         LIMIT 1
           FOR UPDATE SKIP LOCKED
    ), called AS (
        UPDATE notifier.webhook
           SET busy_until = $2
          FROM due
         WHERE webhook.webhook_id = due.webhook_id
     RETURNING webhook.*
    )
    UPDATE notifier.delivery
       SET takes = takes + 1, tries = tries + 1, due_at = $2
      FROM due, called
     WHERE delivery.delivery_id = due.delivery_id
 RETURNING delivery.delivery_id, delivery.tenant, delivery.webhook_id, delivery.event_id, delivery.event_type,
           delivery.body, delivery.takes, delivery.tries, delivery.queued_at, called.url, called.version,
           called.secret_number, called.previous_until, called.hex_signature, called.busy_until
"""
NOTE = """
    INSERT INTO notifier.attempt (delivery_id, take, tenant, at, status_code, milliseconds, said)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT DO NOTHING
"""
FREE = """
    UPDATE notifier.webhook
       SET busy_until = '-infinity', succeeded_at = coalesce($3, succeeded_at)
     WHERE webhook_id = $1 AND busy_until = $2
"""
DELAY = """
    UPDATE notifier.delivery
       SET due_at = $3
     WHERE delivery_id = $1 AND takes = $2 AND state = 'waiting'
"""
SETTLE = """
    UPDATE notifier.delivery
       SET state = $3, settled_at = $4
     WHERE delivery_id = $1 AND takes = $2 AND state = 'waiting'
 RETURNING delivery_id
"""
REPLAY = """
    UPDATE notifier.delivery
       SET state = 'waiting', tries = 0, queued_at = now(), due_at = now(), settled_at = NULL
     WHERE delivery_id = $1 AND webhook_id = $2
"""
DELIVERY = "SELECT * FROM notifier.delivery WHERE webhook_id = $1 AND delivery_id = $2"
NEWEST_FIRST = """
    SELECT *
      FROM notifier.delivery
     WHERE webhook_id = $1 AND ($2 = '' OR delivery_id < $2)
     ORDER BY delivery_id DESC
     LIMIT $3
"""
ATTEMPTS = """
    SELECT delivery_id, at, status_code, milliseconds, said
      FROM notifier.attempt
     WHERE delivery_id = ANY($1)
     ORDER BY delivery_id, take
"""


class Due(Struct, frozen=True, kw_only=True):
    """A delivery to make now, with its endpoint; ``takes`` is its fence, ``busy_until`` its endpoint's."""

    delivery_id: str
    tenant: str
    webhook_id: str
    event_id: str
    event_type: str
    body: str
    takes: int
    tries: int
    queued_at: datetime
    url: str
    version: int
    secret_number: int
    previous_until: datetime | None
    hex_signature: bool
    busy_until: datetime


async def set_endpoint(tx: Transaction, wished: WebhookSet) -> None:
    """Take an endpoint as it is wished now; an older wish changes nothing."""
    await tx.execute(
        SET, wished.webhook_id, wished.tenant, wished.version, wished.url, list(wished.events), wished.secret_number,
        wished.previous_until, wished.hex_signature, wished.enabled,
    )  # fmt: skip


async def disable(tx: Transaction, webhook_id: str, version: int, unless_since: datetime | None) -> bool:
    """Call an endpoint no more. ``False``: it was changed meanwhile, or something arrived there since that time."""
    return await tx.fetchval(DISABLE, webhook_id, version, unless_since) is not None


async def interested(tx: Transaction, event_type: str) -> list[str]:
    """List the tenant's endpoints that want such events."""
    return [row["webhook_id"] for row in await tx.fetch(INTERESTED, event_type)]


async def owe(tx: Transaction, webhook_id: str, message: Message) -> None:
    """Write down what an endpoint is owed; the same event is owed once."""
    named = (message.event_id, message.type, message.job_id)
    await tx.execute(OWE, new_id("whd"), tx.tenant, webhook_id, *named, message.body)


async def take_due(tx: Transaction, at: datetime, lease: timedelta) -> Due | None:
    """Take the delivery that is due longest, and its endpoint, until the lease is over."""
    row = await tx.fetchrow(TAKE_DUE, at, at + lease)
    return Due(**dict(row)) if row else None


async def note(tx: Transaction, due: Due, at: datetime, status_code: int, milliseconds: int, said: str) -> None:
    """Write down how a call went, once."""
    await tx.execute(NOTE, due.delivery_id, due.takes, due.tenant, at, status_code, milliseconds, said)


async def free(tx: Transaction, due: Due, succeeded_at: datetime | None) -> None:
    """Let the endpoint be called again, and note when it last took something."""
    await tx.execute(FREE, due.webhook_id, due.busy_until, succeeded_at)


async def delay(tx: Transaction, due: Due, due_at: datetime) -> None:
    """Try again later."""
    await tx.execute(DELAY, due.delivery_id, due.takes, due_at)


async def settle(tx: Transaction, due: Due, state: str, at: datetime) -> bool:
    """Write down what became of a delivery. ``False``: somebody took it over since."""
    return await tx.fetchval(SETTLE, due.delivery_id, due.takes, state, at) is not None


async def replay(tx: Transaction, webhook_id: str, delivery_id: str) -> None:
    """Owe a delivery once more, from the start of its schedule."""
    await tx.execute(REPLAY, delivery_id, webhook_id)


async def delivery(tx: Transaction, webhook_id: str, delivery_id: str) -> Record | None:
    """Find a delivery."""
    return await tx.fetchrow(DELIVERY, webhook_id, delivery_id)


async def newest_first(tx: Transaction, webhook_id: str, after: str, limit: int) -> list[Record]:
    """List deliveries to an endpoint, the latest first."""
    return await tx.fetch(NEWEST_FIRST, webhook_id, after, limit)


async def attempts(tx: Transaction, delivery_ids: list[str]) -> list[Record]:
    """List the calls of these deliveries, the first first."""
    return await tx.fetch(ATTEMPTS, delivery_ids)


ENDED = """
    SELECT delivery_id
      FROM notifier.delivery
     WHERE state <> 'waiting' AND settled_at < $1
     LIMIT 1000
       FOR UPDATE SKIP LOCKED
"""
FORGET_ATTEMPTS = "DELETE FROM notifier.attempt WHERE delivery_id = ANY($1)"
FORGET = "DELETE FROM notifier.delivery WHERE delivery_id = ANY($1)"


async def ended(tx: Transaction, before: datetime) -> list[str]:
    """Lock some deliveries that ended before a time and that nobody asked to be replayed since."""
    return [row["delivery_id"] for row in await tx.fetch(ENDED, before)]


async def forget_attempts(tx: Transaction, deliveries: list[str]) -> None:
    """Forget the calls of deliveries."""
    await tx.execute(FORGET_ATTEMPTS, deliveries)


async def forget(tx: Transaction, deliveries: list[str]) -> None:
    """Forget deliveries, their calls before them."""
    await tx.execute(FORGET, deliveries)
