"""From outbox to stream: published in order, removed once the stream has acknowledged.

An advisory lock elects one relay for each service, NOTIFY wakes it, a look every five
seconds backs it up. Many facts leave as one atomic batch (ADR-50: one fsync for all). A batch
with an id the stream already holds is refused whole (error 10201): then they go one by
one, and the stream's own de-duplication drops the repeated ones.
"""

import asyncio
import contextlib
import json
from typing import Any

import nats.errors
import structlog
from nats.js.errors import APIError

from contracts.base import new_id
from libs.bus.connection import Bus, answered
from libs.db import DB_AWAY, Database
from libs.db.database import ALL_TENANTS
from libs.waking import rest

log = structlog.get_logger()

BATCH = 200
POLL = 1.0
LOOK = 5.0
DUPLICATE_IN_BATCH = 10201

SCOPE = "SELECT set_config('app.tenant', $1, false)"
ELECT = "SELECT pg_try_advisory_lock(hashtext('outbox'), hashtext($1))"
NEXT_FACTS = """
    SELECT seq, id, subject, headers, body
      FROM {schema}.outbox
     ORDER BY seq
     LIMIT $1
"""
FORGET = "DELETE FROM {schema}.outbox WHERE seq = ANY($1::bigint[])"


class Relay:
    """Carries one service's facts from its outbox to EVENTS, on a connection of its own."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self.database = database
        self.bus = bus
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Publish until cancelled; a lost database or broker only delays."""
        while True:
            try:
                await self._hold_office()
            except (*DB_AWAY, nats.errors.Error) as error:
                log.warning("relay pauses", error=repr(error))
                await asyncio.sleep(POLL)

    async def _hold_office(self) -> None:
        async with self.database.held() as connection:
            schema = self.database.schema
            await connection.add_listener(f"outbox_{schema}", self._woken)
            try:
                await connection.execute(SCOPE, ALL_TENANTS)
                while not await connection.fetchval(ELECT, schema):
                    await asyncio.sleep(POLL)
                while True:
                    self._wake.clear()
                    while await self._publish_some(connection):
                        pass
                    await rest(self._wake, LOOK)
            finally:
                with contextlib.suppress(*DB_AWAY):
                    await connection.remove_listener(f"outbox_{schema}", self._woken)

    def _woken(self, *_: object) -> None:
        self._wake.set()

    async def _publish_some(self, connection: Any) -> bool:
        """Publish one batch and forget it. ``False``: the outbox was empty."""
        rows = await connection.fetch(NEXT_FACTS.format(schema=self.database.schema), BATCH)
        if not rows:
            return False
        await self._publish(rows)
        await connection.execute(FORGET.format(schema=self.database.schema), [row["seq"] for row in rows])
        return True

    async def _publish(self, rows: list[Any]) -> None:
        if len(rows) > 1:
            try:
                return await self._publish_batch(rows)
            except APIError as error:
                if error.err_code != DUPLICATE_IN_BATCH:
                    raise
        for row in rows:
            headers = json.loads(row["headers"])
            await answered(
                self.bus.js.publish(row["subject"], row["body"], headers=headers, stream="EVENTS", timeout=5)
            )
        return None

    async def _publish_batch(self, rows: list[Any]) -> None:
        batch = new_id("batch")
        last = len(rows)
        for number, row in enumerate(rows, start=1):
            headers = json.loads(row["headers"]) | {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == last:
                headers["Nats-Batch-Commit"] = "1"
            if number in (1, last):
                reply = await answered(self.bus.nc.request(row["subject"], row["body"], timeout=5, headers=headers))
                _raise_refusal(reply.data)
            else:
                await self.bus.nc.publish(row["subject"], row["body"], headers=headers)


def _raise_refusal(reply: bytes) -> None:
    """The first message of a batch is acknowledged by an empty reply, the last by a PubAck; either may be an error."""
    if reply and (error := json.loads(reply).get("error")):
        raise APIError.from_error(error)
