"""Live pages: one reader of the streams for each process, fanned out in memory to every open page.

A page gets facts in the order of EVENTS, each with its sequence as SSE id, so that
``Last-Event-ID`` resumes exactly. Measurements are merged: a page that lags gets the newest.
A page that lags too far behind is dropped, never buffered; its client comes back and resumes.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import ConsumerConfig, DeliverPolicy

from libs.bus import Bus
from libs.bus.streams import EVENTS

NATS_HEARTBEAT = 2.0
PATIENCE = 5.0


class About(Struct, frozen=True):
    """What a message says about whom: enough to route it, whatever its kind."""

    type: str
    tenant: str
    job_id: str | None = None
    dataset_id: str | None = None


class Message(NamedTuple):
    """A fact (with its ``sequence`` in EVENTS) or a measurement (with none), as it was told."""

    sequence: int | None
    subject: str
    about: About
    body: bytes
    identity: str = ""


class Scope(NamedTuple):
    """What a page is about: a tenant's everything, or one job with its dataset."""

    tenant: str
    job_id: str | None = None
    dataset_id: str | None = None

    def covers(self, about: About) -> bool:
        """Say whether a message belongs on the page."""
        if about.tenant != self.tenant:
            return False
        if self.job_id is None or about.job_id is not None:
            return self.job_id in (None, about.job_id)
        return about.dataset_id == self.dataset_id


class Page:
    """One open page: facts in order up to ``backlog``, measurements merged by their subject."""

    def __init__(self, scope: Scope, joined_at: int, backlog: int) -> None:
        self.scope = scope
        self.joined_at = joined_at
        self.dropped = False
        self._backlog = backlog
        self._facts: deque[Message] = deque()
        self._measured: dict[str, Message] = {}
        self._wake = asyncio.Event()

    def offer(self, message: Message) -> None:
        """Put a message on the page, or drop a page that lags too far behind."""
        if not self.scope.covers(message.about):
            return
        if message.sequence is None:
            self._measured[message.subject] = message
        elif len(self._facts) < self._backlog:
            self._facts.append(message)
        else:
            self.drop()
        self._wake.set()

    def drop(self) -> None:
        """End the page; its client may come back."""
        self.dropped = True
        self._wake.set()

    async def messages(self, silence: float) -> AsyncIterator[Message | None]:
        """Yield what comes, ``None`` after ``silence`` seconds without; ends when the page was dropped."""
        while not self.dropped:
            if self._facts:
                yield self._facts.popleft()
            elif self._measured:
                yield self._measured.pop(next(iter(self._measured)))
            elif not await self._woken(silence):
                yield None

    async def facts(self, wait: float) -> list[Message]:
        """Take the facts there are, or else those that come first within ``wait`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while not (self._facts or self.dropped):
                    self._wake.clear()
                    await self._wake.wait()
        found, self._facts = list(self._facts), deque()
        return found

    async def _woken(self, silence: float) -> bool:
        self._wake.clear()
        try:
            async with asyncio.timeout(silence):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True


class Hub:
    """Reads EVENTS once for all pages, and replays it for those that come back."""

    def __init__(self, bus: Bus, backlog: int) -> None:
        self._bus = bus
        self._backlog = backlog
        self._pages: set[Page] = set()
        self.seen = 0
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Read facts from now on until cancelled; after a broker's restart, from where it stopped."""
        self.seen = (await self._bus.js.stream_info(EVENTS)).state.last_seq
        try:
            async with reading(self._bus, EVENTS, "evt.>", after=self.seen) as heard:
                self.ready.set()
                async for raw in heard.messages:
                    self._hear(raw, raw.metadata.sequence.stream)
        finally:
            for page in self._pages:
                page.drop()

    def _hear(self, raw: Msg, sequence: int) -> None:
        if sequence > self.seen:
            self.seen = sequence
            self.offer_raw(raw, sequence)

    def offer_raw(self, raw: Msg, sequence: int | None) -> None:
        """Put a message as NATS brought it on every page it belongs on; what says nothing of a tenant on none."""
        with contextlib.suppress(msgspec.DecodeError):
            self.offer(message_of(raw, sequence))

    def offer(self, message: Message) -> None:
        """Put a message on every page it belongs on."""
        for page in self._pages:
            page.offer(message)

    def open(self, scope: Scope) -> Page:
        """Open a page: it gets every fact after ``joined_at``."""
        page = Page(scope, self.seen, self._backlog)
        self._pages.add(page)
        return page

    def close(self, page: Page) -> None:
        """Close a page."""
        self._pages.discard(page)

    async def follow(
        self, scope: Scope, silence: float, *, after: int | None = None, since: datetime | None = None
    ) -> AsyncIterator[Message | None]:
        """Yield facts after the sequence ``after`` or the time ``since`` (else from now), then what comes live."""
        await self.ready.wait()
        page = self.open(scope)
        try:
            sent = after or 0
            if after is not None or since is not None:
                async for message in self._replay(page, after, since):
                    sent = message.sequence or sent
                    yield message
            async for live in page.messages(silence):
                if live is None or live.sequence is None or live.sequence > sent:
                    yield live
        finally:
            self.close(page)

    async def since(
        self, scope: Scope, after: int, wait: float, enough: Callable[[list[Message]], bool]
    ) -> tuple[list[Message], int]:
        """Return facts after a sequence, else the first that come within ``wait`` seconds; and how far they reach."""
        await self.ready.wait()
        page = self.open(scope)
        found: list[Message] = []
        try:
            async with contextlib.aclosing(self._replay(page, after, None)) as told:
                async for message in told:
                    found.append(message)
                    if enough(found):
                        break
            if not found:
                found = [each for each in await page.facts(wait) if (each.sequence or 0) > after]
        finally:
            self.close(page)
        reached = after if page.dropped else max(after, page.joined_at)
        return found, (found[-1].sequence or after) if found else reached

    async def _replay(self, page: Page, after: int | None, since: datetime | None) -> AsyncGenerator[Message]:
        """Yield the page's facts up to where it joined; a reader that lost the broker may begin again, they do not."""
        subject = f"evt.{page.scope.tenant}.>"
        async with reading(self._bus, EVENTS, subject, after=after, since=since) as heard:
            left, reached = await _left(heard), after or 0
            while left:
                try:
                    raw = await heard.next_msg(timeout=PATIENCE)
                except NatsTimeout:
                    page.drop()
                    return
                left = raw.metadata.num_pending
                sequence = raw.metadata.sequence.stream
                if sequence > page.joined_at:
                    return
                message = message_of(raw, sequence)
                if sequence > reached and page.scope.covers(message.about):
                    yield message
                reached = max(reached, sequence)


def message_of(raw: Msg, sequence: int | None) -> Message:
    """Read what a NATS message is about."""
    identity = (raw.headers or {}).get("ce-id", "")
    return Message(sequence, raw.subject, msgspec.json.decode(raw.data, type=About), raw.data, identity)


async def _left(heard: Any) -> int:
    """Count what a reader that was just made will get."""
    info = await heard.consumer_info()
    delivered = info.delivered.consumer_seq if info.delivered else 0
    return int(info.num_pending or 0) + int(delivered)


@contextlib.asynccontextmanager
async def reading(
    bus: Bus, stream: str, subject: str, *, after: int | None = None, since: datetime | None = None
) -> AsyncIterator[Any]:
    """Read a stream in order from a sequence or a time; what is not taken when it ends does not hold the broker up."""
    start = (
        ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since)
        if after is None
        else ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1)
    )
    heard = await bus.js.subscribe(
        subject, stream=stream, config=start, ordered_consumer=True, idle_heartbeat=NATS_HEARTBEAT
    )
    try:
        yield heard
    finally:
        with contextlib.suppress(NatsError):
            await heard.unsubscribe()
