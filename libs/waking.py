"""Calls a service's work loops: each has an ear of its own, so none sleeps through a call that another one heard."""

import asyncio
from contextlib import suppress


class Wake:
    """Set by whoever changed something a loop may have waited for, once that is committed."""

    def __init__(self) -> None:
        self._ears: list[asyncio.Event] = []

    def ear(self) -> asyncio.Event:
        """Return what one loop listens with."""
        self._ears.append(asyncio.Event())
        return self._ears[-1]

    def set(self) -> None:
        """Make every loop look."""
        for ear in self._ears:
            ear.set()


async def rest(ear: asyncio.Event, seconds: float) -> None:
    """Wait until somebody calls, at most so long. A loop clears its ear before it looks."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await ear.wait()
