"""Runs a Python module as a process of its own group: torch and the drawing engines never live in the service."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

from libs.embedded.supervisor import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
KEPT = 40
LINE_LIMIT = 1 << 20


class Ended(Struct, frozen=True):
    """How a process ended: exit code (negative: the signal) and the last lines it wrote to stderr."""

    code: int
    last: tuple[str, ...]


class Child:
    """One running process. Leaving ``started`` kills whatever of its group still runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._last: list[str] = []
        self._reading = asyncio.create_task(self._keep_last())

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield what it prints, line by line, until it closes stdout."""
        assert self.process.stdout
        async for line in self.process.stdout:
            yield line

    async def ended(self) -> Ended:
        """Wait for its end."""
        code = await self.process.wait()
        await self._reading
        return Ended(code, tuple(self._last))

    def kill(self) -> None:
        """End its whole group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def _keep_last(self) -> None:
        assert self.process.stderr
        async for line in self.process.stderr:
            self._last = [*self._last, line.decode(errors="replace").rstrip()][-KEPT:]


@contextlib.asynccontextmanager
async def started(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Start ``python -m module arguments`` and make sure that it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=die_with_parent,
        limit=LINE_LIMIT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    child = Child(process)
    try:
        yield child
    finally:
        child.kill()
        assert process.stdin
        process.stdin.close()
        await child.ended()
