"""Cuts off who sends a body too slowly: only the time spent waiting for the client counts, not what we do between."""

import asyncio
import time
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, ReceiveMessage, Scope, Send

from libs.errors import TooSlow
from services.gateway.domain.pace import Pace


def paced(app: ASGIApp, least: float, patience: float) -> ASGIApp:
    """Wrap an application: a body comes at ``least`` bytes a second or faster, or reading it raises ``TooSlow``.

    It may stop for ``patience`` seconds. What comes after it, such as the client's leaving, is waited for without end.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            receive = listening(receive, Pace(least, patience))
        await app(scope, receive, send)

    return call


def listening(receive: Receive, pace: Pace, clock: Callable[[], float] = time.monotonic) -> Receive:
    """Return a ``receive`` that loses patience."""
    coming = True

    async def heard() -> ReceiveMessage:
        nonlocal coming
        if not coming:
            return await receive()
        began = clock()
        try:
            async with asyncio.timeout(pace.left):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        coming = False
        if message["type"] == "http.request":
            coming = message["more_body"]
            pace.heard(len(message["body"]), clock() - began)
        if coming and pace.left <= 0:
            raise _too_slow()
        return message

    return heard


def _too_slow() -> TooSlow:
    return TooSlow(
        "The body came too slowly, and nothing of it was kept.", fix="Send it again over a faster connection."
    )
