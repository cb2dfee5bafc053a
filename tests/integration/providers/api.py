"""What the stand-ins of two clouds share: HTTP on a free port, and faults that happen once and in turn."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

TOKEN = "token-of-the-test"


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


class Answer(NamedTuple):
    """What is answered; ``None`` as its status: never."""

    status: int | None
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012


class Fault(NamedTuple):
    """Answer the next such request with this; ``after``: only once it has had its effect."""

    method: str
    answer: Answer
    after: bool = False


NEVER = Answer(None)


class Api:
    """Serves ``handle`` of a subclass; ``asked`` is every request in order, ``faults`` are used up in turn."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.faults: list[Fault] = []

    def handle(self, asked: Asked) -> Answer:
        """Carry a request out."""
        raise NotImplementedError

    def count(self, method: str) -> int:
        """Count the requests of a method."""
        return sum(each.method == method for each in self.asked)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while inside."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = self._answer(*await _request(reader))
            if answer.status is None:
                await reader.read()
            else:
                writer.write(_response(answer))
                await writer.drain()
        finally:
            writer.close()

    def _answer(self, asked: Asked, headers: dict[str, str]) -> Answer:
        self.asked.append(asked)
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, {"title": "Unauthorized", "status": 401, "detail": "missing bearer token"})
        fault = next((each for each in self.faults if each.method == asked.method), None)
        if fault is None:
            return self.handle(asked)
        self.faults.remove(fault)
        if fault.after:
            self.handle(asked)
        return fault.answer


async def _request(reader: asyncio.StreamReader) -> tuple[Asked, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    return Asked(method, url.path, dict(parse_qsl(url.query)), json.loads(body) if body else None), headers


def _response(answer: Answer) -> bytes:
    body = b"" if answer.body is None else json.dumps(answer.body).encode()
    lines = [f"HTTP/1.1 {answer.status} x", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
