"""A wire that can be cut: a TCP proxy between one service and one server.

Nothing is lost on it that was not cut off: while a direction is cut its bytes wait, as they would for a router that
comes back, and arrive late; ``sever`` closes every connection. ``waiting`` shows that a cut had something to hold up.
"""

import asyncio
import contextlib
from types import TracebackType
from typing import Literal

Direction = Literal["out", "in"]
"""``out`` leads from the service to the server, ``in`` back."""

CHUNK = 65536


class Wire:
    """Listens on ``port`` and passes everything on to 127.0.0.1:``server``."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.port = 0
        self.waiting = 0
        self.delay = 0.0
        self._open = {"out": asyncio.Event(), "in": asyncio.Event()}
        self._connections: set[asyncio.StreamWriter] = set()
        self.heal()

    async def __aenter__(self) -> "Wire":
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._listener.close()
        self.sever()

    def cut(self, *directions: Direction) -> None:
        """Hold up what goes this way from now on."""
        self.waiting = 0
        for direction in directions:
            self._open[direction].clear()

    def heal(self) -> None:
        """Let everything through again, what waited first."""
        for gate in self._open.values():
            gate.set()

    def sever(self) -> int:
        """Close every connection, and return how many there were; new ones are taken."""
        count = len(self._connections) // 2
        for writer in list(self._connections):
            writer.transport.abort()
        return count

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server)
        except OSError:
            writer.transport.abort()
            return
        self._connections |= {writer, far_writer}
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on("out", reader, far_writer))
                tasks.create_task(self._pass_on("in", far_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections -= {writer, far_writer}
            for each in (writer, far_writer):
                each.transport.abort()

    async def _pass_on(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if self.delay:
                await asyncio.sleep(self.delay)
            if not self._open[direction].is_set():
                self.waiting += len(data)
            await self._open[direction].wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
        raise ConnectionResetError(f"{direction} ended")
