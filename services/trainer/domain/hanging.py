"""When a training process that says nothing any more is taken for hung, and what of its stacks is worth keeping.

Training says something after every forward pass. A process whose silence is twenty times the longest it ever kept
between two of them, and at least ten minutes, waits for something that will not come: a lock, a disk, another process.
"""

import re

from msgspec import Struct

TIMES = 20.0
"""How many times its longest silence between two forward passes a process may be silent."""
KEPT_FRAMES = 12
_THREAD = re.compile(r"^(Current thread|Thread) 0x")
_FRAME = re.compile(r'^  (File "|\.\.\.)')


class Patience(Struct, frozen=True, kw_only=True):
    """Seconds of silence that are never too long: ``least`` in training, ``first`` before and after it.

    Nobody can say how long reading the data, loading a model, the very first pass or writing the result takes.
    """

    least: float = 600.0
    first: float = 1800.0


USUAL = Patience()


class Stillness:
    """How long a process has been silent, in time during which it was listened to."""

    def __init__(self, patience: Patience) -> None:
        """Take how much silence is usual."""
        self._patience = patience
        self._silent = self._longest = 0.0
        self._working = False

    def heard(self, *, working: bool) -> None:
        """It spoke: of its work in training, or of the stage it enters or leaves."""
        if self._working and working:
            self._longest = max(self._longest, self._silent)
        self._working = working
        self._silent = 0.0

    def passed(self, seconds: float) -> bool:
        """Let time pass; whether it is silent too long now."""
        self._silent += seconds
        return self._silent > self.limit

    @property
    def limit(self) -> float:
        """Seconds of silence after which it is taken for hung."""
        return max(self._patience.least, TIMES * self._longest) if self._working else self._patience.first


def innermost(words: str) -> str:
    """Shorten each stack that ``faulthandler`` wrote to its innermost frames: those that say what is waited for.

    A thread is a line ``Thread 0x…`` and its frames, the innermost first; the thread that trains is the last.
    """
    kept: list[str] = []
    frames = 0
    for line in words.splitlines():
        if _THREAD.match(line):
            frames = 0
        elif _FRAME.match(line):
            frames += 1
        if not (_FRAME.match(line) and frames > KEPT_FRAMES):
            kept.append(line)
    return "\n".join(kept)
