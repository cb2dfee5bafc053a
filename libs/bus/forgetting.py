"""What was taken in is remembered for ninety days, then forgotten: here stands why that is enough.

An inbox knows a fact's id so that it has its effect once, however often it comes. It can come again

- because the broker did not hear the acknowledgement: as long as it is outstanding. So nothing is forgotten at a
  moment when anything is: then all that was ever delivered has been acknowledged, and the broker delivers it no more;
- because the teller's relay published it twice: the stream drops the second for ten minutes, later ones pass. A relay
  that died between the stream's acknowledgement and its own ``DELETE`` does so once, as soon as it is started again:
  only a teller that was out of work for more than ninety days could tell something twice that was forgotten;
- because everything is told again, when an installation is restored: a backup says how far each service had taken
  the stream in, and ``deploy/restore`` writes those ids into its inbox before it starts.

A durable must therefore never be deleted by hand: the one made in its place would hear everything once more.
"""

import asyncio
from datetime import timedelta

import nats.errors
import structlog

from libs.bus.connection import Bus
from libs.bus.streams import EVENTS
from libs.db import DB_AWAY, Database

log = structlog.get_logger()

KEPT = timedelta(days=90)
FIRST = 600.0
EVERY = 3600.0
AGAIN = 60.0
AT_ONCE = 5000

FORGET = """
    DELETE FROM {schema}.inbox
     WHERE id IN (SELECT id FROM {schema}.inbox WHERE at < now() - $1::interval ORDER BY at LIMIT $2)
"""


class Forgetter:
    """Empties one service's inbox of what is long past."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self.database = database
        self.bus = bus

    async def run(self) -> None:
        """Look once an hour until cancelled, and again in a minute where something was outstanding."""
        pause = FIRST
        while True:
            await asyncio.sleep(pause)
            try:
                pause = AGAIN if await self.forget(KEPT) is None else EVERY
            except (*DB_AWAY, nats.errors.Error) as error:
                log.warning("forgetting pauses", error=repr(error))

    async def forget(self, age: timedelta) -> int | None:
        """Forget what was taken in longer ago than ``age``; return how many. ``None``: not now, some is outstanding."""
        if await self._outstanding():
            return None
        total = 0
        while count := await self._forget_some(age):
            total += count
        return total

    async def _outstanding(self) -> int:
        """Count what was delivered and is not acknowledged."""
        consumer = await self.bus.js.consumer_info(EVENTS, self.database.schema)
        return consumer.num_ack_pending or 0

    async def _forget_some(self, age: timedelta) -> int:
        async with self.database.across_tenants() as tx:
            done = await tx.execute(FORGET.format(schema=self.database.schema), age, AT_ONCE)
        return int(done.split()[-1])
