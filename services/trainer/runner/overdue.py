"""Which children are ended although they did not end: one whose time is up, and one that hangs.

Silence counts only while this process listens: a runner that was itself asleep has heard nothing meanwhile.
"""

import asyncio
from typing import Literal

import structlog

from services.trainer.domain.hanging import Patience, Stillness
from services.trainer.domain.time_limit import PATIENCE
from services.trainer.runner.child import Child
from services.trainer.training.protocol import Alive, Line, Progressed, Remarked, Saved

log = structlog.get_logger()

LOOK = 5.0
"""Seconds between two looks; a look that came later counts as no more than two."""
WORK = (Alive, Progressed, Saved, Remarked)


class Overdue:
    """Keeps an eye on one child, and knows why it was ended."""

    def __init__(self, child: Child, patience: Patience) -> None:
        """Take the child and how long it may be silent."""
        self._child = child
        self._stillness = Stillness(patience)
        self._look = min(LOOK, patience.least / 10)
        self.why: Literal["", "time_limit", "hung"] = ""

    def heard(self, line: Line) -> None:
        """The child said something."""
        self._stillness.heard(working=isinstance(line, WORK))

    async def end_in_time(self, seconds_left: float) -> None:
        """End a child that has not ended long after its time is up; 0: it takes the time it takes."""
        if seconds_left:
            await asyncio.sleep(seconds_left + PATIENCE)
            self._end("time_limit")

    async def end_if_hung(self) -> None:
        """End a child that says nothing for far too long, once its stacks are in its log."""
        clock = asyncio.get_running_loop().time
        elapsed = 0.0
        while not self._stillness.passed(min(elapsed, 2 * self._look)):
            before = clock()
            await asyncio.sleep(self._look)
            elapsed = clock() - before
        log.warning("child says nothing any more, ending it", mark=self._child.mark, limit=self._stillness.limit)
        await self._child.tell_stacks()
        self._end("hung")

    def _end(self, why: Literal["time_limit", "hung"]) -> None:
        self.why = self.why or why
        self._child.kill()
