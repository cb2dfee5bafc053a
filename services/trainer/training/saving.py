"""Checkpoints, the child's side: a staging folder per fence, and the moment a step's state counts.

What whole means is decided in ``checkpoints``; here is when room is checked, what the manifest says and whom it is
told to.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

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
        self.last: Path | None = None
        folder.mkdir(parents=True, exist_ok=True)
        for stray in checkpoints.stray(folder):
            shutil.rmtree(stray)

    def prepare(self) -> None:
        """Check for twice the last size of free disk; ``DiskFull`` before anything is written."""
        self._began = time.monotonic()
        checkpoints.require_room(self.folder, self._size)

    def commit(self, step: int) -> None:
        """Commit what the trainer wrote for this step, and tell the parent."""
        manifest = msgspec.structs.replace(self._manifest, step=step)
        self.last = self.folder / f"step-{step}"
        size = checkpoints.commit(self.staging / f"checkpoint-{step}", self.last, manifest).size
        shutil.rmtree(self.staging)
        self._size = size
        self._tell(Saved(step=step, path=str(self.last), size=size, seconds=time.monotonic() - self._began))
