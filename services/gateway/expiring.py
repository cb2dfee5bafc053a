"""What goes by itself: files whose time is over, uploads nobody completed, and the parts of those that ended."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from libs.db import DB_AWAY, Database
from libs.errors import WoodshedError
from libs.storage import Storage
from services.gateway.collecting import delete_bytes
from services.gateway.queries import files as file_queries
from services.gateway.queries import uploads as upload_queries

log = structlog.get_logger()

EVERY = 10.0
GRACE = timedelta(hours=1)
"""An upload that is being made a file of when its time runs out is left in peace."""


class Expirer:
    """Work loop: looks every ten seconds; a lost database or storage only delays it."""

    def __init__(self, db: Database, storage: Storage) -> None:
        self._db = db
        self._storage = storage

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.look(datetime.now(UTC))
            except (*DB_AWAY, WoodshedError) as error:
                log.warning("expiring pauses", error=repr(error))
            await asyncio.sleep(EVERY)

    async def look(self, at: datetime) -> None:
        """Delete the files whose time is over, and the parts of every upload that has ended by ``at``."""
        async with self._db.across_tenants() as tx:
            files = await file_queries.begin_expiry(tx)
        for file in files:
            await delete_bytes(self._db, self._storage, file["tenant"], file["file_id"], file["uri"])
        async with self._db.across_tenants() as tx:
            await upload_queries.expire(tx, at - GRACE)
            uploads = await upload_queries.ended(tx)
        for upload in uploads:
            await self._storage.delete_prefix(f"{upload['tenant']}/uploads/{upload['upload_id']}")
            async with self._db.transaction(upload["tenant"]) as tx:
                await upload_queries.forget_parts(tx, upload["upload_id"])
