"""A training child before there is an attempt for it: ``python -m services.trainer.training.warm``.

It imports what takes seconds, says that it waits and what it takes up (``Waiting``), and reads on standard input which
spec is its own; it is started for a CPU only, as what a GPU's child may see is decided before imports. From then on it
is that attempt's child as if it had been started for it. Standard input that ends without a spec ends it too. ``ps``
and tests tell the two states apart by the process's name.
"""

import contextlib
import ctypes
import gc
import os
import re
import select
import sys
from pathlib import Path

from services.trainer.training import __main__ as child
from services.trainer.training.channel import Channel
from services.trainer.training.protocol import Waiting

PR_SET_NAME = 15
WAITS, TRAINS = "woodshed-warm", "woodshed-train"
"""The names of such a process (at most 15 bytes) while it waits, and from its spec on."""


def waited_for(channel: Channel) -> Path:
    """Return the spec that is given after everything heavy was imported; exit where none will come."""
    _import()
    if not _given():
        _rehearse()
        channel.tell(Waiting(memory_bytes=own_bytes()))
        _be_called(WAITS)
    spec = sys.stdin.buffer.read()
    if not spec:
        sys.exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _be_called(TRAINS)
    channel.begin()
    return Path(os.fsdecode(spec))


def _given() -> bool:
    return bool(select.select([0], [], [], 0)[0])


def _import() -> None:
    import services.trainer.training.model
    import services.trainer.training.saving
    import services.trainer.training.watching  # noqa: F401


def _rehearse() -> None:
    """Have the first use of libraries behind us, and what they made out of the garbage collector's way."""
    from services.trainer.training.rehearsal import rehearse

    with contextlib.suppress(OSError):
        rehearse()
    gc.collect()
    gc.freeze()


def own_bytes() -> int:
    """Return what this process takes of memory, shared pages by their share; 0 where the kernel does not say."""
    rollup = Path("/proc/self/smaps_rollup")
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup.read_text(), re.MULTILINE) if rollup.exists() else None
    return int(found[1]) * 1024 if found else 0


def _be_called(name: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())


if __name__ == "__main__":
    sys.exit(child.main(waited_for))
