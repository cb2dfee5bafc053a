"""How the child talks to its parent: one JSON object a line, on a pipe no stray print can reach.

Libraries print. So the standard output the child was born with is kept aside, and file descriptor 1 points at
standard error from then on. A parent that is gone shows as a broken pipe: the child then ends at once, since nobody
could fence what it writes.
"""

import os
import threading
import time
from typing import BinaryIO

import msgspec

from services.trainer.training.protocol import Alive, Failed, Progressed, Stage, Staged, Told

PROGRESS_SECONDS = 0.5
ALIVE_SECONDS = 5.0


class Channel:
    """Lines to the parent; at most two ``Progressed`` a second.

    Of several processes that train together one ``speaks``; the others say only why they failed.
    """

    def __init__(self, stream: BinaryIO, *, speaks: bool = True) -> None:
        """Take the stream that lines are written to."""
        self._stream = stream
        self._speaks = speaks
        self._lock = threading.Lock()
        self._progressed = 0.0
        self._told = 0.0
        self.begin()

    def begin(self) -> None:
        """Count the seconds of stages from now on."""
        self._began = time.monotonic()

    def tell(self, line: Told) -> None:
        """Write one line and flush it; a parent that is gone ends this process (exit code 1)."""
        if not self._speaks and not isinstance(line, Failed):
            return
        self._told = time.monotonic()
        try:
            with self._lock:
                self._stream.write(msgspec.json.encode(line) + b"\n")
                self._stream.flush()
        except BrokenPipeError:
            os._exit(1)

    def stage(self, stage: Stage, detail: str = "") -> None:
        """Tell which stage begins, and when."""
        self.tell(Staged(stage=stage, seconds=self.seconds, detail=detail))

    def progress(self, line: Progressed) -> None:
        """Tell progress, unless the last was less than half a second ago; first and last steps always."""
        now = time.monotonic()
        if line.step < line.total_steps and now - self._progressed < PROGRESS_SECONDS:
            return
        self._progressed = now
        self.tell(line)

    def alive(self) -> None:
        """Tell that work goes on, unless something was told in the last five seconds."""
        if time.monotonic() - self._told >= ALIVE_SECONDS:
            self.tell(Alive())

    @property
    def seconds(self) -> float:
        """Seconds since the attempt began here."""
        return time.monotonic() - self._began


def take_standard_output(*, speaks: bool = True) -> Channel:
    """Keep the original standard output for the parent and send everything printed to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return Channel(os.fdopen(kept, "wb", buffering=0), speaks=speaks)
