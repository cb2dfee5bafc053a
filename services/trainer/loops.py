"""The control's work: give devices out, watch for silence, prune.

Each loop looks when woken, and from time to time in case nobody did; a lost database, broker or storage only delays
it, because nothing is decided outside a transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
import structlog

from contracts.runs import DeviceOffered, DeviceWithdrawn
from libs.db import DB_AWAY, Transaction
from libs.db.database import now
from libs.storage import AWAY, Storage
from libs.waking import rest
from services.trainer import queries, queries_checkpoints, queries_devices, queries_leases
from services.trainer.control import Control
from services.trainer.domain.saving import KEEP
from services.trainer.handlers import begin_attempt, new_offer
from services.trainer.ordering import Ordering

log = structlog.get_logger()

POLL = 5.0
JUDGE = 2.0
PRUNE = 10.0
"""Seconds between two looks when nobody calls; a processor that looks is taken from training."""
TEMPORARY = (*DB_AWAY, nats.errors.Error, *AWAY)


class Loops:
    """The work loops of one control; two controls may run side by side."""

    def __init__(self, control: Control, storage: Storage) -> None:
        self.control = control
        self.storage = storage

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the loops to run."""
        return [
            self.control.listen,
            lambda: self._repeat(self.place, self.control.wake.ear()),
            self.orders,
            lambda: self._repeat(self.prune, asyncio.Event(), PRUNE),
            self.arbitrate,
        ]

    async def _repeat(self, step: Callable[[], Awaitable[None]], ear: asyncio.Event, every: float = POLL) -> None:
        while True:
            ear.clear()
            try:
                await step()
            except TEMPORARY as error:
                log.warning("work pauses", step=step.__name__, error=repr(error))
            await rest(ear, every)

    async def orders(self) -> None:
        """Give orders until cancelled."""
        async with asyncio.TaskGroup() as under_way:
            ordering = Ordering(self.control, under_way)
            await self._repeat(ordering.give, self.control.wake.ear())

    async def place(self) -> None:
        """Give devices with room to runs that wait to go on; offer what is left to the scheduler."""
        async with self.control.db.across_tenants() as tx:
            free = await queries_devices.devices_with_room(tx)
            for run in await queries.recovering(tx, now()):
                for device in [each for each in free if each["free_bytes"] >= run["memory_bytes"]]:
                    if await self._regrant(tx, run, device):
                        free.remove(device)
                        break
            for device in free:
                if device["offer_id"] is None or device["offered_bytes"] != device["free_bytes"]:
                    await self._offer(tx, device)

    async def _regrant(self, tx: Transaction, run: Any, device: Any) -> bool:
        granted = await queries_leases.grant(tx, run["run_id"], device["device_id"], now())
        if granted is None:
            return False
        if device["offer_id"]:
            await queries_devices.set_offer(tx, device["device_id"], None)
            await tx.tell(DeviceWithdrawn(at=now(), device_id=device["device_id"], offer_id=device["offer_id"]))
        await begin_attempt(
            tx, run["tenant"], run["run_id"], run["job_id"], device["device_id"], granted["fence"], granted["attempt"]
        )
        tx.afterwards(self.control.wake.set)
        return True

    async def _offer(self, tx: Transaction, device: Any) -> None:
        offer = new_offer()
        await queries_devices.set_offer(tx, device["device_id"], offer, device["free_bytes"])
        await tx.tell(
            DeviceOffered(
                at=now(),
                device_id=device["device_id"],
                offer_id=offer,
                kind=device["kind"],
                precision=device["precision"],
                threads=device["threads"],
                memory_bytes=device["free_bytes"],
                flops=device["flops"],
                features=tuple(device["features"]),
                processor=device["torch_device"].partition(":")[0],
            )
        )

    async def arbitrate(self) -> None:
        """Take devices away from runners that have been silent too long."""
        clock = asyncio.get_running_loop()
        last = clock.time()
        while True:
            await asyncio.sleep(JUDGE)
            elapsed, last = clock.time() - last, clock.time()
            try:
                await self._judge(elapsed)
            except TEMPORARY as error:
                log.warning("arbiter stands still", error=repr(error))

    async def _judge(self, elapsed: float) -> None:
        control = self.control
        async with control.db.across_tenants() as tx:
            runners = {lease["fence"]: lease["runner"] for lease in await queries_leases.open_leases(tx)}
            for fence in control.silence.tick(set(runners), elapsed, connected=control.bus.connected):
                log.warning("lease is over", fence=fence, runner=runners[fence])
                silent = f"{control.settings.lease_seconds:g} s"
                evidence = f"{runners[fence]} has said nothing of the attempt for {silent}, longer than its lease"
                await control.lose(tx, fence, "lost_worker", evidence, None)
                tx.afterwards(control.wake.set)
            online = set(await queries_devices.online_runners(tx))
            for runner in control.presence.silence.tick(online, elapsed, connected=control.bus.connected):
                await control.presence.withdraw(tx, runner)

    async def prune(self) -> None:
        """Delete checkpoints that two newer ones have made superfluous: bytes first, then the row."""
        async with self.control.db.across_tenants() as tx:
            old = await queries_checkpoints.prunable(tx, KEEP)
        for uri in old:
            await self.storage.delete_prefix(uri)
            async with self.control.db.across_tenants() as tx:
                await queries_checkpoints.forget(tx, uri)
