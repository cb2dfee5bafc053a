"""The attempts this machine carries out right now, by fence.

Two ways of ending them all: ``leave`` when the machine is taken away (SIGTERM), within the notice it gives, and
``let_go`` when the control cannot be heard any more and somebody else may soon be given the work.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path

import structlog

from contracts.base import new_id
from libs.bus import Bus
from libs.storage import Storage
from services.trainer.domain.hanging import Patience
from services.trainer.line import DeviceFound, Held, Launch, mark_of
from services.trainer.runner.attempt import Attempt
from services.trainer.runner.launching import Command, command, could_wait
from services.trainer.runner.reporting import Reporter
from services.trainer.runner.warm import AFTER_A_RUN, GIGABYTE, Warm
from services.trainer.settings import RunnerSettings
from services.trainer.training.protocol import Shelf

log = structlog.get_logger()


CUT_OFF_GRACE = 3.0
"""Seconds to save in once the control is unheard: the lease ends five after a runner stops itself."""

FIRST_TIMES = 3.0
"""How much longer than in training a child may be silent before its first forward pass and after its last."""

LAST_WORDS = 0.3
SHORTEST_LAST_WORDS, LONGEST_LAST_WORDS = 1.0, 10.0
"""The share of a notice kept for uploading and reporting what was saved, and its bounds in seconds."""


class Attempts:
    """Starts, stops and forgets attempts."""

    def __init__(
        self,
        runner: str,
        devices: tuple[DeviceFound, ...],
        settings: RunnerSettings,
        bus: Bus,
        storage: Storage,
        command: Command = command,
    ) -> None:
        self.runner = runner
        self.session = new_id("session")
        self.devices = {device.device_id: device for device in devices}
        self.settings = settings
        self.bus = bus
        self.storage = storage
        self.command = command
        self.folder = Path(settings.data_dir) / "runs" / runner
        shutil.rmtree(self.folder, ignore_errors=True)
        self.held: dict[int, Attempt] = {}
        self.tasks: asyncio.TaskGroup | None = None
        self.closing = False
        self._begun: set[int] = set()
        self._running: dict[int, asyncio.Task[None]] = {}
        self.warm = Warm(Path(settings.data_dir) / "warm" / runner, f"{self.session}/warm", settings.warm_free_gb)

    def holding(self) -> tuple[Held, ...]:
        """What to say in a beat."""
        return tuple(Held(run_id=attempt.launch.run_id, fence=fence) for fence, attempt in self.held.items())

    def begin(self, launch: Launch) -> bool:
        """Start an attempt; one that was begun is left alone. ``False``: not here, or not any more."""
        if launch.fence in self._begun:
            return True
        theirs = launch.mark not in ("", mark_of(self.session))
        if theirs or self.closing or launch.device_id not in self.devices:
            return False
        self._begun.add(launch.fence)
        reporter = Reporter(self.bus, self.runner, self.session, launch.run_id, launch.fence)
        attempt = Attempt(
            launch,
            self.devices[launch.device_id],
            self.storage,
            reporter,
            command=self.command,
            models=Path(self.settings.models_dir),
            workers=self.settings.loader_workers,
            folder=self.folder / launch.run_id / f"fence-{launch.fence}",
            shelf=self._shelf(),
            warm=self.warm,
            patience=Patience(least=self.settings.hung_seconds, first=FIRST_TIMES * self.settings.hung_seconds),
        )
        self.held[launch.fence] = attempt
        assert self.tasks
        self._running[launch.fence] = self.tasks.create_task(self._carry_out(attempt))
        return True

    async def _carry_out(self, attempt: Attempt) -> None:
        fence = attempt.launch.fence
        try:
            await attempt.carry_out()
        except Exception as error:
            log.error("attempt ended by an error of ours", run=attempt.launch.run_id, fence=fence, exc_info=error)
            await attempt.give_up(error)
        finally:
            self.held.pop(fence, None)
            self._running.pop(fence, None)
            shutil.rmtree(attempt.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                attempt.folder.parent.rmdir()
            self.rest(AFTER_A_RUN)

    def _shelf(self) -> Shelf | None:
        most = int(self.settings.prepared_gb * GIGABYTE)
        return Shelf(folder=str(Path(self.settings.data_dir) / "prepared"), most_bytes=most) if most else None

    def rest(self, seconds: float = 0.0) -> None:
        """Start a child ahead of its attempt, if nothing is carried out ``seconds`` from now."""
        if any(could_wait(self.command(Path(), device), device) for device in self.devices.values()):
            asyncio.get_running_loop().call_later(seconds, self._warm_up)

    def _warm_up(self) -> None:
        if self.tasks and not (self.held or self.closing):
            self.tasks.create_task(self.warm.start())

    def stop(self, fence: int, grace: float) -> bool:
        """Ask an attempt to save and end; kill it after ``grace`` seconds. ``False``: there is none."""
        attempt = self.held.get(fence)
        if attempt:
            attempt.ask_to_stop(grace)
        return attempt is not None

    def end(self, fence: int) -> None:
        """Kill an attempt whose lease is no longer ours."""
        if attempt := self.held.get(fence):
            log.warning("lease is no longer held", run=attempt.launch.run_id, fence=fence)
            attempt.kill()

    def let_go(self) -> None:
        """Nobody answers: have every attempt save and end. What each reached is reported once somebody hears it."""
        for attempt in self.held.values():
            attempt.leave(CUT_OFF_GRACE)

    async def leave(self, notice: float) -> None:
        """Be gone within ``notice`` seconds: children save and end, what they saved is uploaded and reported.

        A child that cannot end its step in time is killed while there is time to upload what it saved before.
        """
        self.closing = True
        last_words = min(max(LAST_WORDS * notice, SHORTEST_LAST_WORDS), LONGEST_LAST_WORDS)
        for attempt in self.held.values():
            attempt.leave(max(notice - last_words, 0.0))
        if running := list(self._running.values()):
            _, late = await asyncio.wait(running, timeout=notice - last_words / 4)
            for task in late:
                task.cancel()
