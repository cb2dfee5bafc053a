"""When keys were last used: remembered in memory, written once in a while for all keys together.

A request costs no write. What was used since the last writing is forgotten when the process is killed.
"""

import asyncio
from datetime import datetime

import structlog

from libs.db import DB_AWAY, Database
from services.gateway.queries import keys as queries

log = structlog.get_logger()


class LastUse:
    """Remembers the keys that were used since it last wrote, and writes every ``interval`` seconds."""

    def __init__(self, db: Database, interval: float) -> None:
        self._db = db
        self._interval = interval
        self._seen: dict[str, datetime] = {}
        self._used = asyncio.Event()

    def saw(self, prefix: str, at: datetime) -> None:
        """Remember that a key was used."""
        self._seen[prefix] = at
        self._used.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._used.wait()
            try:
                await self.write()
            except DB_AWAY as error:
                log.warning("last use of keys not written", error=type(error).__name__)
            await asyncio.sleep(self._interval)

    async def write(self) -> None:
        """Write what was remembered."""
        self._used.clear()
        seen, self._seen = self._seen, {}
        async with self._db.across_tenants() as tx:
            await queries.used(tx, seen)
