"""The control's work: give devices out, tell runners, watch for silence, prune.

Each loop looks when woken and at least once a second (pruning, which nobody waits for, every ten); a lost database,
broker or storage only delays it, because nothing is decided outside a transaction.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import nats.errors
import structlog

from contracts.recipes import Recipe
from contracts.runs import DeviceOffered, DeviceWithdrawn
from libs.db import Transaction
from libs.db.database import now
from libs.storage import AWAY, Storage
from services.trainer import queries, queries_checkpoints, queries_devices, queries_leases, queries_machines
from services.trainer.control import Control
from services.trainer.domain.budget import seconds_paid, tighter
from services.trainer.domain.saving import KEEP, Rule, rule_for
from services.trainer.domain.time_limit import seconds_left
from services.trainer.handlers import begin_attempt, new_offer
from services.trainer.line import Answered, Launch, Stop, encode, mark_of, order_subject

log = structlog.get_logger()

POLL = 1.0
PRUNE = 10.0
ORDER_TIMEOUT = 5.0
TEMPORARY = (asyncpg.PostgresError, asyncpg.InterfaceError, nats.errors.Error, *AWAY)


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
            lambda: self._repeat(self.order, self.control.wake.ear()),
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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await ear.wait()

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
            )
        )

    async def order(self) -> None:
        """Tell runners what to start and what to end; an order is repeated until taken."""
        async with self.control.db.across_tenants() as tx:
            starts = [await self._starting(tx, row) for row in await queries_leases.unlaunched(tx)]
            stops = await queries_leases.stopping(tx)
        await asyncio.gather(*(self._start(*each) for each in starts), *(self._stop(row) for row in stops))

    async def _start(self, row: Any, launch: Launch) -> None:
        taken = await self._ask(row["runner"], "launch", launch)
        if taken and taken.accepted:
            async with self.control.db.across_tenants() as tx:
                await queries_leases.set_launched(tx, row["fence"])

    async def _stop(self, row: Any) -> None:
        grace = self.control.settings.grace_seconds
        held = await self._ask(row["runner"], "stop", Stop(run_id=row["run_id"], fence=row["fence"], grace=grace))
        if held and not held.accepted:
            await self.control.not_held(row["fence"])

    async def _starting(self, tx: Transaction, row: Any) -> tuple[Any, Launch]:
        spent = await queries_leases.device_seconds(tx, row["run_id"], now())
        settings = self.control.settings
        cost = await queries_machines.cost(tx, row["run_id"], now(), settings.device_rate)
        paid = seconds_paid(row["budget"], cost, settings.device_rate if row["price"] is None else row["price"])
        rule = rule_for(settings.mean_seconds_between_losses, settings.saving_share)
        return row, _launch(row, await queries_checkpoints.resumable(tx, row["run_id"]), spent, paid, rule)

    async def _ask(self, runner: str, what: str, order: Launch | Stop) -> Answered | None:
        """Give a runner an order; ``None``: it does not answer."""
        try:
            reply = await self.control.bus.nc.request(order_subject(runner, what), encode(order), timeout=ORDER_TIMEOUT)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            log.warning("runner does not answer", runner=runner, order=what)
            return None
        return msgspec.json.decode(reply.data, type=Answered)

    async def arbitrate(self) -> None:
        """Take devices away from runners that have been silent too long."""
        clock = asyncio.get_running_loop()
        last = clock.time()
        while True:
            await asyncio.sleep(POLL)
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


def _launch(row: Any, saved: tuple[Any, ...], spent: float, paid: float, rule: Rule) -> Launch:
    recipe = msgspec.json.decode(row["recipe"], type=Recipe)
    left, limit = tighter(seconds_left(recipe.time_limit, spent), paid)
    return Launch(
        tenant=row["tenant"],
        run_id=row["run_id"],
        job_id=row["job_id"],
        attempt=row["attempt"],
        fence=row["fence"],
        device_id=row["device_id"],
        recipe=recipe,
        dataset_uri=row["dataset_uri"],
        dataset_digest=row["dataset_digest"],
        checkpoint_every=row["checkpoint_every"],
        saving=rule,
        micro_tokens=row["micro_tokens"],
        seconds_left=left,
        limit=limit,
        checkpoints=saved,
        mark=mark_of(row["session"]),
    )
