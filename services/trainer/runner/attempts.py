"""The attempts this machine carries out right now, by fence."""

import asyncio
import contextlib
import shutil
from pathlib import Path

import structlog

from libs.bus import Bus
from libs.storage import Storage
from services.trainer.line import DeviceFound, Held, Launch
from services.trainer.runner.attempt import Attempt
from services.trainer.runner.reporting import Reporter
from services.trainer.settings import RunnerSettings

log = structlog.get_logger()


class Attempts:
    """Starts, stops and forgets attempts."""

    def __init__(
        self, runner: str, devices: tuple[DeviceFound, ...], settings: RunnerSettings, bus: Bus, storage: Storage
    ) -> None:
        self.runner = runner
        self.devices = {device.device_id: device for device in devices}
        self.settings = settings
        self.bus = bus
        self.storage = storage
        self.folder = Path(settings.data_dir) / "runs"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.held: dict[int, Attempt] = {}
        self.tasks: asyncio.TaskGroup | None = None
        self.closing = False
        self._running: dict[int, asyncio.Task[None]] = {}

    def holding(self) -> tuple[Held, ...]:
        """What to say in a beat."""
        return tuple(Held(run_id=attempt.launch.run_id, fence=fence) for fence, attempt in self.held.items())

    def begin(self, launch: Launch) -> None:
        """Start an attempt; one that is here already is left alone, and a runner that is leaving takes none."""
        if self.closing or launch.fence in self.held:
            return
        reporter = Reporter(self.bus, self.runner, launch.run_id, launch.fence)
        attempt = Attempt(
            launch,
            self.devices[launch.device_id],
            self.storage,
            reporter,
            models=Path(self.settings.models_dir),
            folder=self.folder / launch.run_id / f"fence-{launch.fence}",
        )
        self.held[launch.fence] = attempt
        assert self.tasks
        self._running[launch.fence] = self.tasks.create_task(self._carry_out(attempt))

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

    async def stop_all(self, grace: float = 8.0) -> None:
        """End every attempt, saving where there is time, and wait for their last reports. None begins after this."""
        self.closing = True
        for fence in list(self.held):
            self.stop(fence, grace)
        if running := list(self._running.values()):
            _, late = await asyncio.wait(running, timeout=grace + 4.0)
            for task in late:
                task.cancel()
