"""Which runners there are: their hello, their heart-beats, their farewell.

A runner's name belongs to one process at a time, its *session*. Another one gets the name only when that process has
been silent for a moment, so neither a second machine with the same name nor a liar ends what a living runner holds.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from contracts.runs import DeviceWithdrawn
from libs.db import DB_AWAY, Transaction
from libs.db.database import now
from services.trainer import queries_devices, queries_leases, queries_machines
from services.trainer.domain.liveness import Silence
from services.trainer.domain.recovery import PREEMPTED
from services.trainer.domain.trust import flaw_of_beat, flaw_of_hello
from services.trainer.line import Answered, Beat, Heard, Hello

if TYPE_CHECKING:
    from services.trainer.control import Control

log = structlog.get_logger()

TAKE_OVER_SECONDS = 5.0
RECENT_SECONDS = 3600.0


class Presence:
    """Hears runners come, live and go. The arbiter judges ``silence``; ``last_beat`` is by this process's clock."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.silence: Silence[str] = Silence(control.settings.lease_seconds)
        self.last_beat: dict[str, float] = {}
        self._living: dict[str, tuple[str, float]] = {}
        self._its_own: dict[str, set[int]] = {}

    def silent_for(self) -> dict[str, float]:
        """Return how many seconds each runner has been silent that was heard by this process in the last hour."""
        silent = {runner: self._time() - at for runner, at in self.last_beat.items()}
        return {runner: seconds for runner, seconds in silent.items() if seconds < RECENT_SECONDS}

    async def hello(self, said: Hello) -> Answered:
        """A runner has (re)started and holds nothing: its devices are online, its former attempts lost.

        One that says hello again because it did not hear the answer has lost nothing, and its offers stand.
        """
        if flaw := flaw_of_hello(said) or self._name_taken(said):
            log.warning("runner refused", runner=said.runner[:40], why=flaw)
            return Answered(accepted=False)
        async with self.control.db.across_tenants() as tx:
            if not said.session or said.session != await queries_devices.session_of(tx, said.runner):
                await self._forget_former(tx, said.runner)
            if not await queries_machines.leaving(tx, said.runner):
                await self._take_in(tx, said)
        self._heard(said)
        self.control.wake.set()
        return Answered()

    async def _forget_former(self, tx: Transaction, runner: str) -> None:
        for lease in await queries_leases.leases_of(tx, runner):
            await self.control.lose(tx, lease["fence"], "lost_worker", "the runner was started anew", None)
        await self.withdraw(tx, runner, leaving=True)

    def _name_taken(self, said: Hello) -> str | None:
        session, at = self._living.get(said.runner, ("", 0.0))
        if said.session and session not in ("", said.session) and self._time() - at < TAKE_OVER_SECONDS:
            return "another runner of this name is alive: give each a WOODSHED_RUNNER_NAME of its own"
        return None

    async def _take_in(self, tx: Transaction, said: Hello) -> None:
        for device in said.devices:
            if not await queries_devices.add_device(tx, said, device):
                log.warning("device belongs to another runner", runner=said.runner, device=device.device_id)

    async def beat(self, said: Beat) -> Heard | None:
        """A runner lives; tell it which of its attempts are no longer its own."""
        if flaw_of_beat(said):
            return None
        self.last_beat[said.runner] = self._time()
        try:
            return await self._looked_up(said)
        except DB_AWAY as error:
            log.warning("beat not looked up", runner=said.runner, error=repr(error))
            return self._as_before(said)

    async def _looked_up(self, said: Beat) -> Heard:
        async with self.control.db.across_tenants() as tx:
            if not await queries_devices.runner_known(tx, said.runner, said.session):
                return Heard(stale=tuple(held.fence for held in said.holds), known=False)
            if said.leaving:
                await self._leave(tx, said)
            its_own = {lease["fence"] for lease in await queries_leases.leases_of(tx, said.runner)}
            stale = tuple(held.fence for held in said.holds if held.fence not in its_own)
            if not (stale or said.leaving) and await queries_devices.come_back(tx, said.runner):
                tx.afterwards(self.control.wake.set)
        self._its_own[said.runner] = its_own
        self._heard(said)
        return Heard(stale=stale)

    def _as_before(self, said: Beat) -> Heard | None:
        """Hear a runner while the database is away and no lease can end: who claims nothing new still holds it."""
        session, _ = self._living.get(said.runner, (None, 0.0))
        known = {held.fence for held in said.holds} <= self._its_own.get(said.runner, set())
        if session != said.session or said.leaving or not known:
            return None
        self._heard(said)
        return Heard()

    def _heard(self, said: Hello | Beat) -> None:
        self.silence.heard(said.runner)
        self._living[said.runner] = (said.session, self._time())
        if isinstance(said, Hello):
            return
        if said.leaving:
            del self._living[said.runner]
        for held in said.holds:
            if held.fence in self._its_own[said.runner]:
                self.control.silence.heard(held.fence)

    async def _leave(self, tx: Transaction, said: Beat) -> None:
        """A machine is being taken away: offer it no more, and start elsewhere what it has not begun."""
        await self.withdraw(tx, said.runner, leaving=True)
        holds = {held.fence for held in said.holds}
        for lease in await queries_leases.leases_of(tx, said.runner):
            if not lease["launched"] and lease["fence"] not in holds:
                await self.control.lose(tx, lease["fence"], PREEMPTED, "the machine is being taken away", None)
                tx.afterwards(self.control.wake.set)

    async def withdraw(self, tx: Transaction, runner: str, *, leaving: bool = False) -> None:
        """Take a runner's devices offline, and their offers back."""
        for device in await queries_devices.take_offline(tx, runner, leaving=leaving):
            if device["offer_id"]:
                await tx.tell(DeviceWithdrawn(at=now(), device_id=device["device_id"], offer_id=device["offer_id"]))

    def _time(self) -> float:
        return asyncio.get_running_loop().time()
