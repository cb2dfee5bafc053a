"""Removes what lost attempts left in storage, and rows that nothing can ask for any more.

Looks once an hour; a lost database or storage only delays it.
"""

import asyncio
from datetime import datetime

import structlog

from libs.bus.forgetting import KEPT
from libs.db import DB_AWAY, Database
from libs.db.database import now
from libs.storage import AWAY, Storage
from services.trainer import queries_checkpoints, queries_dispatches, queries_leases, queries_machines
from services.trainer.domain.leftovers import fence_of, is_left

log = structlog.get_logger()

EVERY = 3600.0


class Sweeper:
    """Compares the objects of runs with leases and checkpoints."""

    def __init__(self, db: Database, storage: Storage) -> None:
        self.db = db
        self.storage = storage

    async def run(self) -> None:
        """Sweep once an hour until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.sweep(now())
                await self.forget(now() - KEPT)
            except (*DB_AWAY, *AWAY) as error:
                log.warning("sweeping pauses", error=repr(error))

    async def sweep(self, at: datetime) -> list[str]:
        """Delete what is nobody's at this time; return its keys."""
        listed = await self.storage.objects()
        fences = {key: fence for key in listed if (fence := fence_of(key)) is not None}
        async with self.db.across_tenants() as tx:
            ended = await queries_leases.ended_leases(tx, set(fences.values()))
            committed = await queries_checkpoints.committed(tx)
        left = [
            key
            for key, fence in fences.items()
            if is_left(key, listed[key].modified, ended.get(fence), committed.get(fence, ()), at)
        ]
        for key in left:
            await self.storage.delete(key)
        if left:
            log.info("swept what lost attempts left", objects=len(left))
        return left

    async def forget(self, before: datetime) -> None:
        """Forget what was written down for facts that would have come long ago (``libs/bus/forgetting``)."""
        async with self.db.across_tenants() as tx:
            await queries_dispatches.forget_called_off(tx, before)
            await queries_machines.forget_jobs(tx, before)
