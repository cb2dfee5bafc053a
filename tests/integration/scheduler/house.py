"""The scheduler's reactions on a real database, one fact at a time, as many at once as a test wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from contracts.base import Event, new_id, type_of
from libs.db import Database
from services.scheduler.handlers import router

E = TypeVar("E", bound=Event)


class Scheduler:
    """One process of the scheduler: takes facts in like the bus does, and shows what it told."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def hears(self, *facts: Event, identity: str = "") -> None:
        """React to facts in turn, each in its own transaction; an ``identity`` seen before has no effect."""
        for fact in facts:
            async with self.reacting_to(fact, identity):
                pass

    @asynccontextmanager
    async def reacting_to(self, fact: Event, identity: str = "") -> AsyncIterator[None]:
        """React to a fact; it is committed on leaving."""
        reaction = router.reactions[type_of(type(fact))]
        everybody = reaction.across_tenants
        scope = self.database.across_tenants() if everybody else self.database.transaction(fact.tenant)
        async with scope as tx:
            if await tx.claim(identity or new_id("evt")):
                await reaction.handler(fact, tx, **router.given(reaction.needs))
            yield

    async def told(self, kind: type[E]) -> list[E]:
        """Return the facts of a kind in the outbox, in the order they were told."""
        async with self.database.across_tenants() as tx:
            rows = await tx.fetch(
                "SELECT body FROM scheduler.outbox WHERE headers->>'ce-type' = $1 ORDER BY seq", type_of(kind)
            )
        return [msgspec.json.decode(row["body"], type=kind) for row in rows]

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Read the scheduler's tables across tenants."""
        async with self.database.across_tenants() as tx:
            return [dict(row) for row in await tx.fetch(statement, *values)]
