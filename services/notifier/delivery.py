"""Delivers what is owed: one loop for each channel, so that a dead one holds up no other.

Take a notice under a lease, send it outside any transaction, write down what became of it. A crash
between sending and writing sends it twice, never not at all; the record says once what came of it.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
import structlog

from contracts.notices import NoticeDelivered, NoticeFailed
from libs.db import Database, Transaction
from libs.db.database import now
from libs.errors import Busy, Rejected
from services.notifier import queries
from services.notifier.channels import Channel
from services.notifier.domain.notice import Surroundings, notice_of
from services.notifier.domain.retry import Backoff
from services.notifier.queries import Owed

log = structlog.get_logger()

POLL = 1.0
LEASE = timedelta(seconds=60)
SEND_SECONDS = 30.0
"""Less than the lease: a send that hangs is given up before another process may take the notice over."""


class Delivery:
    """The work loop of one channel. Tests give it a clock, a back-off without waits and a short poll."""

    def __init__(
        self,
        db: Database,
        channel: Channel,
        here: Surroundings,
        backoff: Backoff | None = None,
        *,
        poll: float = POLL,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.db = db
        self.channel = channel
        self.here = here
        self.backoff = backoff or Backoff()
        self.poll = poll
        self.clock = clock

    async def run(self) -> None:
        """Deliver until cancelled; a lost database only delays."""
        while True:
            try:
                busy = await self.deliver_one()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("delivery pauses", channel=self.channel.name, error=repr(error))
                busy = False
            if not busy:
                await asyncio.sleep(self.poll)

    async def deliver_one(self) -> bool:
        """Try to deliver the notice that is due longest. ``False``: none is due."""
        async with self.db.across_tenants() as tx:
            owed = await queries.take_due(tx, self.channel.name, self.clock(), LEASE)
        if owed is None:
            return False
        try:
            said = await self._send(owed)
        except Rejected as error:
            await self._fail(owed, error.message)
        except Busy as error:
            await self._try_later(owed, error.message, error.after)
        except Exception as error:
            log.error("a notice met a bug", notice=owed.notice_id, channel=self.channel.name, exc_info=error)
            await self._try_later(
                owed, f"Something went wrong in Woodshed itself ({type(error).__name__}); see the log."
            )
        else:
            await self._note_delivered(owed, said)
        return True

    async def _send(self, owed: Owed) -> str:
        notice = notice_of(owed.fact, self.here)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self.channel.send(notice, owed.notice_id)
        except TimeoutError as error:
            raise Busy(f"No answer within {SEND_SECONDS:g} s.", after=0) from error
        return notice.text()

    async def _note_delivered(self, owed: Owed, said: str) -> None:
        async with self.db.transaction(owed.tenant) as tx:
            if await queries.settle(tx, owed, "delivered", self.clock(), said=said):
                await tx.tell(
                    NoticeDelivered(
                        tenant=owed.tenant,
                        at=self.clock(),
                        notice_id=owed.notice_id,
                        job_id=owed.job_id,
                        channel=owed.channel,
                        about=owed.about,
                        tries=owed.tries,
                    )
                )

    async def _try_later(self, owed: Owed, reason: str, asked: float = 0.0) -> None:
        wait = self.backoff.wait(owed.tries, asked)
        if wait is None:
            await self._fail(owed, f"{reason} Given up after {owed.tries} tries.")
            return
        async with self.db.transaction(owed.tenant) as tx:
            await queries.delay(tx, owed, self.clock() + timedelta(seconds=wait), reason)

    async def _fail(self, owed: Owed, reason: str) -> None:
        log.warning("a notice failed", notice=owed.notice_id, channel=owed.channel, reason=reason)
        async with self.db.transaction(owed.tenant) as tx:
            await note_failed(tx, owed, reason, self.clock())


async def give_up_stranded(db: Database, channels: list[str]) -> None:
    """Fail what waits for a channel that was since taken out of the settings, rather than let it wait for ever."""
    async with db.across_tenants() as tx:
        for owed in await queries.stranded(tx, channels):
            reason = f"The channel {owed.channel} is no longer configured; configure it again to use it."
            await note_failed(tx, owed, reason, now())


async def note_failed(tx: Transaction, owed: Owed, reason: str, at: datetime) -> None:
    """Write down that a notice will not be delivered, and tell it."""
    if await queries.settle(tx, owed, "failed", at, reason=reason):
        await tx.tell(
            NoticeFailed(
                tenant=owed.tenant,
                at=at,
                notice_id=owed.notice_id,
                job_id=owed.job_id,
                channel=owed.channel,
                about=owed.about,
                reason=reason,
                tries=owed.tries,
            )
        )
