"""The notifier's reactions and deliveries on a real database, with a clock moved by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from contracts.base import Event, type_of
from libs.db import Database
from services.notifier.channels import Channel
from services.notifier.delivery import Delivery
from services.notifier.domain.notice import Fact, Notice, Surroundings
from services.notifier.domain.retry import Backoff
from services.notifier.handlers import owe_notices

E = TypeVar("E", bound=Event)

HERE = Surroundings("https://woodshed.example", "EUR")
TEN_SECONDS = Backoff(first=10, longest=10, tries=3, jitter=lambda: 1.0)


class Clock:
    """A time a moment ahead of the database's, that stands still until somebody moves it."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC) + timedelta(seconds=1)

    def __call__(self) -> datetime:
        return self.at

    def moves(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Scripted:
    """A channel that raises what it is told to, in turn, and then delivers."""

    personal = True

    def __init__(self, name: str, *troubles: Exception) -> None:
        self.name = name
        self.troubles = list(troubles)
        self.sent: list[Notice] = []

        self.addresses: list[str] = []

    async def send(self, notice: Notice, notice_id: str, address: str = "") -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.sent.append(notice)
        self.addresses.append(address)


class Notices:
    """What is owed, what became of it and what was told of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()

    async def owe(self, *facts: Fact, channels: tuple[str, ...] = ("slack",)) -> None:
        """React to facts, each in its own transaction."""
        for fact in facts:
            async with self.database.transaction(fact.tenant) as tx:
                await owe_notices(fact, tx, channels)

    def delivery(self, channel: Channel, **chosen: Any) -> Delivery:
        """Return a channel's loop: three tries, ten seconds apart, on the clock moved by hand."""
        return Delivery(self.database, channel, HERE, TEN_SECONDS, poll=0.01, clock=self.clock, **chosen)

    async def records(self) -> list[dict[str, Any]]:
        """Return the delivery records in the order they were made."""
        async with self.database.across_tenants() as tx:
            return [dict(row) for row in await tx.fetch("SELECT * FROM notifier.notice ORDER BY notice_id")]

    async def told(self, kind: type[E]) -> list[E]:
        """Return the facts of a kind in the outbox."""
        async with self.database.across_tenants() as tx:
            rows = await tx.fetch(
                "SELECT body FROM notifier.outbox WHERE headers->>'ce-type' = $1 ORDER BY seq", type_of(kind)
            )
        return [msgspec.json.decode(row["body"], type=kind) for row in rows]
