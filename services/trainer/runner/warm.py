"""One training child started ahead of its attempt, while this machine trains nothing.

Imports take seconds that a person who has just submitted a job would wait for. The child that waits becomes the
attempt's own (``Child.become``); it never stands beside a training, so it takes nothing from one. Whatever does not fit
it, or finds it dead, is started as if there had been none.
"""

import asyncio
import shutil
from pathlib import Path

import structlog

from services.trainer.runner.child import Child
from services.trainer.runner.launching import ahead
from services.trainer.training.hardware import free_bytes
from services.trainer.training.protocol import Waiting

log = structlog.get_logger()

AFTER_A_RUN = 10.0
"""Seconds of rest before a next one is started: what proves the run's result goes first."""
GIGABYTE = 1e9


class Warm:
    """Keeps at most one; every method may be called at any time."""

    def __init__(self, folder: Path, name: str, free_gb: float) -> None:
        """Take where the logs of those that wait lie, what marks them, and how much memory must be free for one."""
        self.folder = folder
        self.name = name
        self.free_gb = free_gb
        self._started = 0
        self._waiting: Child | None = None
        self._watching: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        shutil.rmtree(folder, ignore_errors=True)

    async def start(self) -> None:
        """Have one wait, if none does and there is memory for it."""
        async with self._lock:
            if self._waiting or not self._affordable():
                return
            self._started += 1
            self.folder.mkdir(parents=True, exist_ok=True)
            child = Child(f"{self.name}-{self._started}", self.folder / f"{self._started}.log")
            await child.start_ahead(ahead())
            self._waiting = child
            self._watching = asyncio.create_task(_watch(child))

    def _affordable(self) -> bool:
        free_gb = free_bytes("cpu") / GIGABYTE
        if self.free_gb and free_gb < self.free_gb:
            log.info("no training process waits: memory is short", free_gb=round(free_gb, 1), least=self.free_gb)
        return 0 < self.free_gb <= free_gb

    async def take(self, *, usable: bool) -> Child | None:
        """Return the one that waits, if it lives and is ``usable`` for what begins; else it makes room for that."""
        async with self._lock:
            waiting, self._waiting = self._waiting, None
            if waiting is None:
                return None
            await self._look_away()
            if usable and waiting.lives and waiting.log_file.exists():
                return waiting
            await waiting.end()
            return None

    async def end(self) -> None:
        """Have none wait any more."""
        await self.take(usable=False)

    async def _look_away(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.wait([self._watching])


async def _watch(child: Child) -> None:
    """Say what it takes up once it waits, or that it ended."""
    said = await child.first_word()
    if isinstance(said, Waiting):
        log.info("a training process waits, all imported", memory_mb=round(said.memory_bytes / 1e6))
    else:
        log.warning("no training process waits: it ended", log=str(child.log_file), said=said)
