"""Liveness, readiness and metrics over a few lines of HTTP, for services without a web server."""

import asyncio
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

HEADER_SECONDS = 5.0


class Health:
    """Answers ``/health/live``, ``/health/ready`` and ``/metrics`` on 127.0.0.1 (or every address in a container)."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._server: asyncio.Server | None = None

    @classmethod
    async def listen(cls, port: int, ready: Callable[[], bool], host: str = "127.0.0.1") -> "Health":
        """Listen on ``port``; 0 listens nowhere."""
        health = cls(ready)
        if port:
            health._server = await asyncio.start_server(health._serve, host, port)
        return health

    async def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await asyncio.wait_for(reader.readuntil(b"\r\n"), HEADER_SECONDS)
            status, kind, body = self._answer(request.split(b" ")[1:2])
            head = (f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", "connection: close")
            writer.write("\r\n".join((*head, "", "")).encode() + body)
            await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    def _answer(self, path: list[bytes]) -> tuple[str, str, bytes]:
        match path:
            case [b"/health/live"]:
                return "200 OK", "text/plain", b"alive\n"
            case [b"/health/ready"] if self._ready():
                return "200 OK", "text/plain", b"ready\n"
            case [b"/health/ready"]:
                return "503 Service Unavailable", "text/plain", b"no connection to nats\n"
            case [b"/metrics"]:
                return "200 OK", CONTENT_TYPE_LATEST, generate_latest()
            case _:
                return "404 Not Found", "text/plain", b"try /health/live, /health/ready or /metrics\n"
