"""The HTTP server: how many connections it keeps open, and how slowly a client may speak."""

import asyncio
import resource

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar import Litestar

from services.gateway.settings import Settings

BACKLOG = 1024
"""Connections the system accepts for us while we are busy."""
OTHER_FILES = 512


class HttpServer:
    """Granian in this process and event loop: slow headers are cut off, HTTP/1 only."""

    def __init__(self, target: Litestar, settings: Settings) -> None:
        _allow_files(settings.connections_at_once)
        self._server = Server(
            target,
            address=settings.host,
            port=settings.port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=settings.connections_at_once,
            http1_settings=HTTP1Settings(header_read_timeout=settings.header_timeout_ms),
            log_enabled=False,
        )

    async def run(self) -> None:
        """Serve until cancelled; what is being answered is finished."""
        serving = asyncio.create_task(self._server.serve())
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.stop()  # type: ignore[no-untyped-call]
            await serving
            raise


def _allow_files(connections: int) -> None:
    """Let this process have a file open for every connection, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
