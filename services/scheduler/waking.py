"""Lets jobs go on that waited for money: at the turn of a month nothing else would look for them."""

import asyncio

import structlog

from libs.db import DB_AWAY, Database
from services.scheduler import queries_budgets, steps
from services.scheduler.domain.estimate import Rate

log = structlog.get_logger()

LOOK = 10.0
"""Seconds between two looks."""


class Waker:
    """Gives devices to jobs that waited for money, when a month has turned or less was spent than was held."""

    def __init__(self, db: Database, rate: Rate) -> None:
        self._db = db
        self._rate = rate

    async def run(self) -> None:
        """Look until cancelled; a lost database only delays."""
        while True:
            try:
                await self.look()
            except DB_AWAY as error:
                log.warning("jobs that wait for money wait on", error=repr(error))
            await asyncio.sleep(LOOK)

    async def look(self) -> None:
        """Match once, if anybody can be waiting."""
        async with self._db.across_tenants() as tx:
            if await queries_budgets.somebody_waits(tx):
                await steps.match(tx, self._rate)
