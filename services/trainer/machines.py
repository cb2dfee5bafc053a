"""Keeps the machines that pools allow: asks for them, watches, replaces, gives back, and ends those that are nobody's.

A machine's key is written down before its provider is asked for it, and asking again under a key makes no second one.
So a crash at any point leaves either a row whose launch is asked for again, or a machine without a row that may be
kept, which is found by this installation's mark and ended. One control at a time does this work, elected by an
advisory lock; a provider is only ever waited for outside a transaction.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from libs.db import DB_AWAY
from libs.db.database import now
from libs.errors import Busy, Rejected
from services.trainer import queries_leases, queries_machines
from services.trainer.control import Control
from services.trainer.domain import machines as domain
from services.trainer.domain.machines import Capacity, Machine
from services.trainer.providers.kubernetes import Kubernetes
from services.trainer.providers.local import Local
from services.trainer.providers.pools import AnyPool, KubernetesPool, LocalPool, RunPodPool, SpotPool
from services.trainer.providers.provider import Need, Provider, Seen, Spec
from services.trainer.providers.runpod import RunPod
from services.trainer.providers.spot import Spot

log = structlog.get_logger()

OFFICE_POLL = 2.0
SWEEP_SECONDS = 60.0
NOTHING_TO_HAVE = 30.0
LONGEST_WAIT = 300.0


class Keeper:
    """Keeps the machines of every pool; ``providers`` are by the name of their pool, in order of preference."""

    def __init__(self, control: Control, pools: dict[str, AnyPool], providers: dict[str, Provider]) -> None:
        self.control = control
        self.db = control.db
        self.pools = pools
        self.providers = providers
        self.owner = ""
        self._ask_at: dict[str, datetime] = {}
        self._sweep_at: dict[str, float] = {}

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        """Return the loop to run; none where no pool is configured."""
        return [self.run] if self.pools else []

    async def run(self) -> None:
        """Keep machines whenever this control is the elected one, until cancelled."""
        while True:
            try:
                await self._hold_office()
            except* DB_AWAY as errors:
                log.warning("machines are left alone", error=repr(errors.exceptions[0]))
            await asyncio.sleep(OFFICE_POLL)

    async def _hold_office(self) -> None:
        async with self.db.held() as office:
            while not await queries_machines.elect(office):
                await asyncio.sleep(OFFICE_POLL)
            await self.begin()
            async with asyncio.TaskGroup() as tasks:
                for name in self.pools:
                    tasks.create_task(self._keep(name))
                while True:
                    await queries_machines.stay(office)
                    await asyncio.sleep(OFFICE_POLL)

    async def begin(self) -> None:
        """Learn this installation's mark."""
        async with self.db.across_tenants() as tx:
            self.owner = await queries_machines.owner(tx)

    async def _keep(self, name: str) -> None:
        """Tend one pool; what a provider makes us stumble over is logged and keeps no other pool from its work."""
        while True:
            try:
                await self.tend(name)
            except DB_AWAY:
                raise
            except Exception as error:
                log.error("pool not tended", pool=name, exc_info=error)
            await asyncio.sleep(self.pools[name].look_seconds)

    async def tend(self, name: str) -> None:
        """Look at a pool once: at each machine, at what is nobody's, and at how many there should be."""
        for machine in await self._kept(name):
            if machine.handle:
                await self._look(machine, machine.handle)
            elif machine.wanted:
                await self._launch(machine)
            else:
                await self._end(machine, "never asked for")
        await self._sweep(name)
        await self._adjust(name)

    async def _kept(self, name: str) -> list[Machine]:
        async with self.db.across_tenants() as tx:
            return [each for each in await queries_machines.kept(tx) if each.pool == name]

    async def _launch(self, machine: Machine) -> None:
        """Ask for a machine, perhaps again; a refusal ends its row, silence leaves it to be asked for later."""
        if machine.ask_at > now():
            return
        spec = Spec(owner=self.owner, pool=machine.pool, kind=machine.kind)
        try:
            handle = await self.providers[machine.pool].launch(spec, machine.key)
        except Busy as error:
            wait = min(LONGEST_WAIT, max(error.after, 2.0**machine.tries))
            log.warning("machine not launched yet", machine=machine.key, error=error.message, again_seconds=wait)
            async with self.db.across_tenants() as tx:
                await queries_machines.ask_later(tx, machine.key, now() + timedelta(seconds=wait))
        except Rejected as error:
            log.error("machine refused", machine=machine.key, error=error.message)
            await self._end(machine, f"refused: {error.message[:300]}")
        else:
            async with self.db.across_tenants() as tx:
                await queries_machines.launched(tx, machine.key, handle)

    async def _look(self, machine: Machine, handle: str) -> None:
        provider, pool = self.providers[machine.pool], self.pools[machine.pool]
        seen = await provider.observe(handle)
        async with self.db.across_tenants() as tx:
            voice = await queries_machines.voice(tx, machine.key)
        doubts = domain.doubts_after(machine.doubts, seen, heard=bool(voice), certain=provider.certain)
        if doubts >= domain.BELIEF:
            if await self._stop(machine.pool, handle, 0.0):
                await self._end(machine, seen)
            return
        await self._note(machine, seen, doubts, heard=voice is not None)
        if machine.wanted and domain.never_came(machine, now(), pool.boot_seconds):
            log.error("runner never dialled in", machine=machine.key, seconds=pool.boot_seconds)
            await self._unwant(machine, "silent")
        elif not machine.wanted:
            await self._stop(machine.pool, handle, pool.grace_seconds)

    async def _note(self, machine: Machine, seen: Seen, doubts: int, *, heard: bool) -> None:
        async with self.db.across_tenants() as tx:
            holds = any(lease["runner"] == machine.key for lease in await queries_leases.open_leases(tx))
            state = machine.state if seen == "unknown" else seen
            await queries_machines.seen(tx, machine.key, state, doubts, heard, holds, now())

    async def _stop(self, pool: str, handle: str, grace: float) -> bool:
        """Ask for a machine's end. ``False``: nobody answered, it will be asked for again."""
        try:
            await self.providers[pool].stop(handle, grace)
        except (Busy, Rejected) as error:
            log.warning("machine not stopped yet", handle=handle, error=error.message)
            return False
        return True

    async def _end(self, machine: Machine, how: str) -> None:
        """Close a machine's row; its devices are withdrawn, and what it still held is lost now."""
        async with self.db.across_tenants() as tx:
            if not await queries_machines.end(tx, machine.key, now(), how):
                return
            for lease in await queries_leases.open_leases(tx):
                if lease["runner"] == machine.key:
                    await self.control.lose(tx, lease["fence"], "lost_worker", f"its machine is {how}", None)
            await self.control.presence.withdraw(tx, machine.key, leaving=True)
        log.info("machine ended", machine=machine.key, how=how)
        self.control.wake.set()

    async def _unwant(self, machine: Machine, why: str) -> None:
        async with self.db.across_tenants() as tx:
            await queries_machines.unwant(tx, machine.key, why)
            await self.control.presence.withdraw(tx, machine.key, leaving=True)

    async def _sweep(self, name: str) -> None:
        """End what bears our mark but stands in no row that is kept: read after it was listed, so none is missed."""
        time = asyncio.get_running_loop().time()
        if time < self._sweep_at.get(name, 0.0):
            return
        try:
            found = await self.providers[name].list(self.owner)
        except (Busy, Rejected) as error:
            log.warning("machines not listed", pool=name, error=error.message)
            return
        self._sweep_at[name] = time + SWEEP_SECONDS
        async with self.db.across_tenants() as tx:
            known = await queries_machines.known(tx, [each.key for each in found])
        for each in found:
            if domain.is_orphan(each.handle, known.get(each.key)):
                log.warning("machine is nobody's", machine=each.key, handle=each.handle)
                await self._stop(name, each.handle, 0.0)

    async def _adjust(self, name: str) -> None:
        """Ask for what is missing and give back what has been idle."""
        pool = self.pools[name]
        async with self.db.across_tenants() as tx:
            kept = await queries_machines.kept(tx)
            since = [now() - timedelta(seconds=each.patience_seconds) for each in self.pools.values()]
            holding, waiting = await queries_machines.demand(tx, since)
            times, last = await queries_machines.barren(tx, name)
        number = self._wanted(name, kept, holding, waiting)
        ours = [each for each in kept if each.pool == name]
        for machine in domain.to_give_back(ours, holding, number, now(), pool.idle_seconds):
            log.info("machine given back", machine=machine.key, idle_seconds=pool.idle_seconds)
            await self._unwant(machine, "idle")
        missing = number - sum(each.wanted for each in ours)
        due = [self._ask_at[name]] if name in self._ask_at else []
        due += [last + timedelta(seconds=domain.pause(times))] if last else []
        if missing > 0 and all(now() >= each for each in due):
            await self._ask_for(name, missing)

    def _wanted(self, name: str, kept: list[Machine], holding: set[str], waiting: list[int]) -> int:
        busy = [sum(each.pool == pool and each.wanted and each.key in holding for each in kept) for pool in self.pools]
        capacities = [Capacity(least=each.least, most=each.most, devices=each.devices) for each in self.pools.values()]
        return domain.wanted(capacities, busy, waiting)[list(self.pools).index(name)]

    async def _ask_for(self, name: str, missing: int) -> None:
        """Take the best offer, write the keys down, and only then ask."""
        pool = self.pools[name]
        try:
            offers = await self.providers[name].offers(Need(devices=pool.devices))
        except (Busy, Rejected) as error:
            log.warning("no offers", pool=name, error=error.message)
            offers = []
        if not offers:
            self._ask_at[name] = now() + timedelta(seconds=NOTHING_TO_HAVE)
            return
        best, provider = offers[0], str(pool.__struct_config__.tag)
        keys = [f"ws-{self.owner}-{name}-{secrets.token_hex(4)}" for _ in range(missing)]
        async with self.db.across_tenants() as tx:
            for key in keys:
                await queries_machines.add(tx, key, name, provider, best.kind, pool.devices, best.price, now())
        for machine in await self._kept(name):
            if machine.key in keys:
                await self._launch(machine)


def providers_of(pools: dict[str, AnyPool], runpod_key: str, folder: Path) -> dict[str, Provider]:
    """Make each pool's provider; ``folder`` is for the machines of this host."""
    return {name: _provider(pool, runpod_key, folder / "machines") for name, pool in pools.items()}


def _provider(pool: AnyPool, runpod_key: str, folder: Path) -> Provider:
    match pool:
        case LocalPool():
            return Local(pool, folder, pool.grace_seconds)
        case SpotPool():
            return Spot(pool, folder)
        case KubernetesPool():
            return Kubernetes(pool)
        case RunPodPool():
            return RunPod(pool, runpod_key)
