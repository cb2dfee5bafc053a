"""Webhook deliveries that ended are kept for ninety days, then forgotten with their calls.

A person can replay them as long, and a fact that comes again within that time is one delivery still
(``libs/bus/forgetting``). Notices stay: there is one record for each job, and every installation is checked for it.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from libs.bus.forgetting import KEPT
from libs.db import DB_AWAY, Database
from libs.db.database import now
from services.notifier import webhook_queries

log = structlog.get_logger()

EVERY = 3600.0


class DeliveryForgetter:
    """Work loop: looks once an hour; a lost database only delays it."""

    def __init__(self, db: Database, kept: timedelta = KEPT) -> None:
        self._db = db
        self._kept = kept

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.forget(now())
            except DB_AWAY as error:
                log.warning("forgetting pauses", error=repr(error))

    async def forget(self, at: datetime) -> int:
        """Forget what ended long before; return how many deliveries. A few at a time, so that nobody waits."""
        total = 0
        while count := await self._forget_some(at - self._kept):
            total += count
        return total

    async def _forget_some(self, before: datetime) -> int:
        async with self._db.across_tenants() as tx:
            ended = await webhook_queries.ended(tx, before)
            await webhook_queries.forget_attempts(tx, ended)
            await webhook_queries.forget(tx, ended)
        return len(ended)
