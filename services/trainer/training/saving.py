"""Checkpoints, the child's side: a staging folder per fence, and the moment a step's state counts.

What whole means is decided in ``checkpoints``; here is when room is checked, what the manifest says and whom it is
told to. Training stands still only while state is copied: writing, hashing and syncing happen in a thread, one save at
a time, and whoever stops waits for it.
"""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import msgspec

from services.trainer.training import checkpoints
from services.trainer.training.checkpoints import Manifest
from services.trainer.training.protocol import Saved, Told


class Checkpoints:
    """Where an attempt's checkpoints go: staged under ``.staging-FENCE``, committed as ``step-N``."""

    def __init__(self, folder: Path, manifest: Manifest, size: int, tell: Callable[[Told], None]) -> None:
        """Take the folder, the manifest without step and files, the expected size in bytes and the parent."""
        self.folder = folder
        self.staging = folder / f".staging-{manifest.fence}"
        self._manifest = manifest
        self._size = size
        self._tell = tell
        self._began = 0.0
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None
        self._costs: list[float] = []
        self.last: Path | None = None

    def clear(self) -> None:
        """Make the folder and remove what interrupted saves left in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for stray in checkpoints.stray(self.folder):
            shutil.rmtree(stray)

    def prepare(self) -> Path:
        """Wait for the save before, check for twice the last size of free disk, and return an empty folder.

        ``DiskFull`` before anything is written.
        """
        self._began = time.monotonic()
        self.wait()
        checkpoints.require_room(self.folder, self._size)
        self.staging.mkdir()
        return self.staging

    def commit(self, step: int, write: Callable[[Path], None]) -> None:
        """Let a thread ``write`` the copied state beside what is staged, commit it as this step's, and tell."""
        blocked = time.monotonic() - self._began
        self._writer = threading.Thread(target=self._commit, args=(step, write, blocked), name="checkpoint")
        self._writer.start()

    @property
    def cost(self) -> float:
        """The mean of what the saves so far have cost training at most, in seconds; 0 before the first is whole."""
        return fmean(self._costs) if self._costs else 0.0

    def check(self) -> None:
        """Raise what went wrong in a save that is over."""
        if self._error:
            raise self._error

    def wait(self) -> None:
        """Wait until the save that is going on, if any, is committed; raise what went wrong in it."""
        if self._writer:
            self._writer.join()
        self.check()

    def _commit(self, step: int, write: Callable[[Path], None], blocked: float) -> None:
        try:
            write(self.staging)
            manifest = msgspec.structs.replace(self._manifest, step=step)
            final = self.folder / f"step-{step}"
            self._size = checkpoints.commit(self.staging, final, manifest).size
        except BaseException as error:
            self._error = error
            return
        self.last = final
        busy = time.thread_time()
        self._costs.append(blocked + busy)
        seconds = time.monotonic() - self._began
        self._tell(Saved(step=step, path=str(final), size=self._size, seconds=seconds, blocked=blocked, busy=busy))
