"""Delivers what webhooks are owed: several calls at once, to each endpoint one at a time.

Take a delivery under a lease, call outside any transaction, write down how it went. A crash between
calling and writing calls again: the event's id is the same, so a receiver sees it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from contracts.base import new_id
from contracts.webhooks import DeliveryFailed, DeliverySucceeded, TryWebhook, WebhookDisabled
from libs.db import DB_AWAY, Database, Transaction
from libs.db.database import now
from libs.signing import webhook_secret
from libs.waking import Wake, rest
from services.notifier import webhook_queries as queries
from services.notifier.calling import Called, Caller
from services.notifier.domain.webhooks import Schedule, headers, judged, sample
from services.notifier.webhook_queries import Due

log = structlog.get_logger()

POLL = 5.0
"""Seconds between two looks when nobody calls."""
AT_ONCE = 16
LEASE = timedelta(seconds=60)
"""Longer than a call may take: one that hangs is given up before another process may take the delivery over."""

GONE = "It answered 410: it wants no more."
SILENT = "Nothing arrived there for three days. Enable it when it answers again; what waits is sent then."


class Poster:
    """The work loop of webhooks. Tests give it a clock, a schedule without chance and a short poll."""

    def __init__(
        self,
        db: Database,
        caller: Caller,
        key: str,
        schedule: Schedule | None = None,
        *,
        wake: Wake | None = None,
        poll: float = POLL,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.db = db
        self.caller = caller
        self.key = key
        self.schedule = schedule or Schedule()
        self.wake = wake or Wake()
        self.poll = poll
        self.clock = clock

    async def run(self) -> None:
        """Deliver until cancelled; a lost database only delays."""
        places = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as calls:
            ear = self.wake.ear()
            while True:
                await places.acquire()
                ear.clear()
                due = await self._take_if_possible()
                if due is None:
                    places.release()
                    await rest(ear, self.poll)
                else:
                    calls.create_task(self._deliver_in(due, places))

    async def take(self) -> Due | None:
        """Take the delivery that is due longest; ``None``: none is."""
        async with self.db.across_tenants() as tx:
            return await queries.take_due(tx, self.clock(), LEASE)

    async def deliver(self, due: Due) -> None:
        """Call, and write down what came of it."""
        at = self.clock()
        secrets = signing_secrets(self.key, due, at)
        given = headers(due.event_id, due.body, at, secrets, hex_signature=due.hex_signature)
        called = await self.caller.post(due.url, due.body, given)
        async with self.db.transaction(due.tenant) as tx:
            await self._note(tx, due, called)

    async def _take_if_possible(self) -> Due | None:
        try:
            return await self.take()
        except DB_AWAY as error:
            log.warning("webhooks pause", error=repr(error))
            return None

    async def _deliver_in(self, due: Due, places: asyncio.Semaphore) -> None:
        """Deliver, and make room; what could not be written down is called again when the lease is over."""
        try:
            await self.deliver(due)
        except Exception as error:
            log.error("a webhook's call was not written down", delivery=due.delivery_id, exc_info=error)
        finally:
            places.release()

    async def _note(self, tx: Transaction, due: Due, called: Called) -> None:
        at, attempt = self.clock(), called.attempt
        await queries.note(tx, due, at, attempt.status_code, attempt.milliseconds, attempt.said)
        meant = judged(attempt.status_code)
        await queries.free(tx, due, at if meant == "taken" else None)
        if meant == "taken":
            await _succeed(tx, due, at)
        elif meant == "gone":
            await _fail(tx, due, at, GONE)
            await _disable(tx, due, at, GONE, None)
        else:
            await self._try_later(tx, due, at, called)

    async def _try_later(self, tx: Transaction, due: Due, at: datetime, called: Called) -> None:
        wait = self.schedule.wait(due.tries, called.after)
        if wait is not None:
            await queries.delay(tx, due, at + timedelta(seconds=wait))
            return
        await _fail(tx, due, at, f"{_what_happened(called)} Given up after {due.tries} tries.")
        await _disable(tx, due, at, SILENT, due.queued_at)


async def tried(asked: TryWebhook, caller: Caller, key: str, at: datetime) -> Called:
    """Send a sample right now, signed as a real one would be."""
    message = sample(asked.event_type, new_id("evt"), at)
    secrets = signing_secrets(key, asked, at)
    given = headers(message.event_id, message.body, at, secrets, hex_signature=asked.hex_signature)
    return await caller.post(asked.url, message.body, given)


def signing_secrets(key: str, endpoint: Due | TryWebhook, at: datetime) -> list[str]:
    """Return the secrets that hold now, the newest first: after a rotation the one before holds for a while."""
    number, until = endpoint.secret_number, endpoint.previous_until
    numbers = [number, number - 1] if until and at < until and number > 1 else [number]
    return [webhook_secret(key, endpoint.webhook_id, each) for each in numbers]


async def _succeed(tx: Transaction, due: Due, at: datetime) -> None:
    if await queries.settle(tx, due, "delivered", at):
        await tx.tell(
            DeliverySucceeded(
                tenant=due.tenant,
                at=at,
                delivery_id=due.delivery_id,
                webhook_id=due.webhook_id,
                event_id=due.event_id,
                event_type=due.event_type,
                tries=due.tries,
            )
        )


async def _fail(tx: Transaction, due: Due, at: datetime, reason: str) -> None:
    log.warning("a webhook was not delivered", delivery=due.delivery_id, reason=reason)
    if await queries.settle(tx, due, "failed", at):
        await tx.tell(
            DeliveryFailed(
                tenant=due.tenant,
                at=at,
                delivery_id=due.delivery_id,
                webhook_id=due.webhook_id,
                event_id=due.event_id,
                event_type=due.event_type,
                tries=due.tries,
                reason=reason,
            )
        )


async def _disable(tx: Transaction, due: Due, at: datetime, reason: str, unless_since: datetime | None) -> None:
    if await queries.disable(tx, due.webhook_id, due.version, unless_since):
        await tx.tell(
            WebhookDisabled(tenant=due.tenant, at=at, webhook_id=due.webhook_id, set_version=due.version, reason=reason)
        )


def _what_happened(called: Called) -> str:
    """Say in our own words how the last call went: a fact repeats nothing that the other side said."""
    status = called.attempt.status_code
    return f"It answered {status}." if status else called.attempt.said
