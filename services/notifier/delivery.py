"""Delivers what is owed: one loop for each channel, so that a dead one holds up no other.

Take a notice (of a digest all) under a lease, send it outside any transaction, write down what became of it. A
crash between sending and writing sends it twice, never not at all; the record says once what came of it. What a
channel does not take is told by another that reaches the same recipient.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from contracts.notices import NoticeDelivered, NoticeFailed
from contracts.people import InvitationRead, MemberInvited
from libs.db import DB_AWAY, Database, Transaction
from libs.db.database import now
from libs.errors import Busy, NotFound, Rejected
from libs.waking import Wake, rest
from services.notifier import queries
from services.notifier.channels import Channel
from services.notifier.domain.digest import digest_of
from services.notifier.domain.notice import Notice, Surroundings, notice_of, with_invitation
from services.notifier.domain.preferences import elsewhere
from services.notifier.domain.retry import Backoff
from services.notifier.queries import Owed

log = structlog.get_logger()

Reach = Callable[[str, str, str], Awaitable[str]]
"""Finds the address of a tenant's recipient on a channel; empty: the channel's own."""

Invitations = Callable[[MemberInvited], Awaitable[InvitationRead]]
"""Finds a member's address and invitation; ``NotFound`` if it does not hold any more."""

POLL = 5.0
"""Seconds between two looks when nobody calls."""
LEASE = timedelta(seconds=60)
SEND_SECONDS = 30.0
"""Less than the lease: a send that hangs is given up before another process may take the notice over."""


async def own_address(tenant: str, recipient: str, channel: str) -> str:
    """Reach everybody where the settings say."""
    return ""


async def nobodys(fact: MemberInvited) -> InvitationRead:
    """Know no invitation."""
    raise NotFound("This invitation was used or replaced, or is over.")


class Delivery:
    """The work loop of one channel. Tests give it a clock, a back-off without waits and a short poll."""

    def __init__(
        self,
        db: Database,
        channel: Channel,
        here: Surroundings,
        backoff: Backoff | None = None,
        *,
        reach: Reach = own_address,
        invitation: Invitations = nobodys,
        channels: Sequence[str] = (),
        wake: Wake | None = None,
        poll: float = POLL,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.db = db
        self.channel = channel
        self.here = here
        self.backoff = backoff or Backoff()
        self.reach = reach
        self.invitation = invitation
        self.channels = channels or (channel.name,)
        self.wake = wake or Wake()
        self.poll = poll
        self.clock = clock

    async def run(self) -> None:
        """Deliver until cancelled; a lost database only delays."""
        ear = self.wake.ear()
        while True:
            ear.clear()
            try:
                busy = await self.deliver_one()
            except DB_AWAY as error:
                log.warning("delivery pauses", channel=self.channel.name, error=repr(error))
                busy = False
            if not busy:
                await rest(ear, self.poll)

    async def deliver_one(self) -> bool:
        """Try to deliver the notice, or the digest, that is due longest. ``False``: none is due."""
        async with self.db.across_tenants() as tx:
            taken = await queries.take_due(tx, self.channel.name, self.clock(), LEASE)
        if not taken:
            return False
        try:
            said = await self._send(taken)
        except Rejected as error:
            await self._fail(taken, error.message)
        except Busy as error:
            await self._try_later(taken, error.message, error.after)
        except Exception as error:
            log.error("a notice met a bug", notice=taken[0].notice_id, channel=self.channel.name, exc_info=error)
            await self._try_later(
                taken, f"Something went wrong in Woodshed itself ({type(error).__name__}); see the log."
            )
        else:
            for owed in taken:
                await self._note_delivered(owed, said)
        return True

    async def _send(self, taken: list[Owed]) -> str:
        notice, first = in_words(taken, self.here), taken[0]
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if isinstance(first.fact, MemberInvited):
                    await self._invite(first.fact, notice, first.notice_id)
                    return notice.text()
                personal = bool(first.recipient) and self.channel.personal
                address = await self.reach(first.tenant, first.recipient, self.channel.name) if personal else ""
                await self.channel.send(notice, first.notice_id, address)
        except TimeoutError as error:
            raise Busy(f"No answer within {SEND_SECONDS:g} s.", after=0) from error
        return notice.text()

    async def _invite(self, fact: MemberInvited, notice: Notice, notice_id: str) -> None:
        """Send the letter with its secret, which no record has."""
        found = await self.invitation(fact)
        letter = with_invitation(notice, found.invitation, found.until, self.here)
        await self.channel.send(letter, notice_id, found.email)

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

    async def _try_later(self, taken: list[Owed], reason: str, asked: float = 0.0) -> None:
        """Delay what was taken together by what the most tried of them waits."""
        tries = max(owed.tries for owed in taken)
        wait = self.backoff.wait(tries, asked)
        if wait is None:
            await self._fail(taken, f"{reason} Given up after {tries} tries.")
            return
        async with self.db.transaction(taken[0].tenant) as tx:
            for owed in taken:
                await queries.delay(tx, owed, self.clock() + timedelta(seconds=wait), reason)

    async def _fail(self, taken: list[Owed], reason: str) -> None:
        log.warning("a notice failed", notice=taken[0].notice_id, channel=self.channel.name, reason=reason)
        async with self.db.transaction(taken[0].tenant) as tx:
            for owed in taken:
                await note_failed(tx, owed, reason, self.clock(), self.channels)
            tx.afterwards(self.wake.set)


def in_words(taken: Sequence[Owed], here: Surroundings) -> Notice:
    """Return what is sent: the notice, or of several their digest."""
    notices = [_worded(owed, here) for owed in taken]
    return digest_of(notices, here) if len(notices) > 1 else notices[0]


def _worded(owed: Owed, here: Surroundings) -> Notice:
    notice = notice_of(owed.fact, here)
    if not owed.instead_of:
        return notice
    lead = f"{notice.lead} (This comes by {owed.channel} because {owed.instead_of} did not take it.)"
    return msgspec.structs.replace(notice, lead=lead)


async def give_up_stranded(db: Database, channels: list[str]) -> None:
    """Fail what waits for a channel that was since taken out of the settings, rather than let it wait for ever."""
    async with db.across_tenants() as tx:
        for owed in await queries.stranded(tx, channels):
            reason = f"The channel {owed.channel} is no longer configured; configure it again to use it."
            await note_failed(tx, owed, reason, now(), channels)


async def note_failed(tx: Transaction, owed: Owed, reason: str, at: datetime, channels: Sequence[str]) -> None:
    """Write down that a notice will not be delivered here, tell it, and owe it elsewhere."""
    if await queries.settle(tx, owed, "failed", at, reason=reason):
        await _owe_elsewhere(tx, owed, channels, at)
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


async def _owe_elsewhere(tx: Transaction, owed: Owed, channels: Sequence[str], at: datetime) -> None:
    """Owe a notice on the first other channel that reaches the same recipient and has no record of it."""
    recipient = await queries.recipient(tx, owed.recipient) if owed.recipient else None
    if owed.recipient and recipient is None:
        return
    for plan in elsewhere(recipient, owed.channel, channels, at):
        if await queries.owe(tx, owed.fact, plan):
            return
