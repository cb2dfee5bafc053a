"""Runs a Python module as a process of its own group: torch and the drawing engines never live in the service."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from msgspec import Struct

from libs.embedded.supervisor import die_with_parent
from libs.lm.sharing import SHARED_CORES

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
        self._process = process
        self._last: list[str] = []
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._reading = (asyncio.create_task(self._read()), asyncio.create_task(self._keep_last()))

    async def put(self, line: bytes) -> None:
        """Write one line to its stdin."""
        assert self._process.stdin
        self._process.stdin.write(line + b"\n")
        await self._process.stdin.drain()

    async def line(self) -> bytes:
        """Return the next line it prints; empty once it has closed stdout."""
        return await self._said.get()

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield what it prints, line by line, until it closes stdout."""
        while line := await self.line():
            yield line

    async def ended(self) -> Ended:
        """Wait for its end."""
        code = await self._process.wait()
        await asyncio.gather(*self._reading)
        return Ended(code, tuple(self._last))

    async def end(self) -> None:
        """End its whole group at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.stdin
        self._process.stdin.close()
        await self.ended()

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            self._said.put_nowait(line)
        self._said.put_nowait(b"")

    async def _keep_last(self) -> None:
        assert self._process.stderr
        async for line in self._process.stderr:
            self._last = [*self._last, line.decode(errors="replace").rstrip()][-KEPT:]


@contextlib.asynccontextmanager
async def started(module: str, *arguments: str, environment: Mapping[str, str] = SHARED_CORES) -> AsyncIterator[Child]:
    """Start ``python -m module arguments`` and make sure that it is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
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
        await child.end()
