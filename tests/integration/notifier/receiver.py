"""A program of a customer's that is called, and behaves as it is told: takes, refuses, redirects, hangs, never ends."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

HANG, ENDLESS, GARBAGE = "hang", "endless", "garbage"


class Call(NamedTuple):
    """A request as it came. Header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: str


class Receiver:
    """``behaviour`` is used up in turn, then it answers 200: a status, a status with headers, or one of the words."""

    def __init__(self, *behaviour: int | str | tuple[int, dict[str, str]], tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = list(behaviour)
        self.calls: list[Call] = []
        self.names: list[str | None] = []
        self.connections = 0
        self.called = asyncio.Event()
        self.port = 0
        self._tls = tls
        if tls:
            tls.sni_callback = lambda _, name, __: self.names.append(name)

    @property
    def url(self) -> str:
        """Its address on this machine."""
        return f"http://127.0.0.1:{self.port}/woodshed"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Receiver"]:
        """Listen on a free port while inside."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._answer(await self._read(reader), writer)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> int | str | tuple[int, dict[str, str]]:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = (await reader.readexactly(int(headers["content-length"]))).decode()
        self.calls.append(Call(head.split(" ")[1], headers, body))
        self.called.set()
        return self.behaviour.pop(0) if self.behaviour else 200

    async def _answer(self, behaviour: int | str | tuple[int, dict[str, str]], writer: asyncio.StreamWriter) -> None:
        if behaviour == HANG:
            await asyncio.Event().wait()
        if behaviour == GARBAGE:
            writer.write(b"\x00\x01 this is no HTTP\r\n\r\n")
            return await writer.drain()
        if behaviour == ENDLESS:
            writer.write(b"HTTP/1.1 500 x\r\n\r\n")
            while True:
                writer.write(b"and so on " * 1000)
                await writer.drain()
        status, given = behaviour if isinstance(behaviour, tuple) else (behaviour, {})
        lines = [f"HTTP/1.1 {status} x", "content-length: 0", *(f"{name}: {value}" for name, value in given.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return await writer.drain()
