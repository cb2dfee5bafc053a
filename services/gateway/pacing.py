"""Cuts off who sends a body too slowly: only the time spent waiting for the client counts, not what we do between.

Who is answered before a large body was read is told that the connection ends with the answer, as the server ends it:
otherwise the next request could be sent into it.
"""

import asyncio
import time
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from libs.errors import TooSlow
from services.gateway.domain.pace import Pace

BUFFERED = 8192
"""Bytes of a body that the server takes in by itself."""


def paced(app: ASGIApp, least: float, patience: float) -> ASGIApp:
    """Wrap an application: a body comes at ``least`` bytes a second or faster, or reading it raises ``TooSlow``.

    It may stop for ``patience`` seconds. What comes after it, such as the client's leaving, is waited for without end.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        heard = Listening(receive, Pace(least, patience))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and heard.coming and _ends(scope, message["status"]):
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await app(scope, heard, answer)

    return call


class Listening:
    """A ``receive`` that loses patience; ``coming`` as long as the body has not been heard to its end."""

    def __init__(self, receive: Receive, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self.coming = True
        self._receive = receive
        self._pace = pace
        self._clock = clock

    async def __call__(self) -> ReceiveMessage:
        """Return what comes next."""
        if not self.coming:
            return await self._receive()
        began = self._clock()
        try:
            async with asyncio.timeout(self._pace.left):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow() from None
        self.coming = False
        if message["type"] == "http.request":
            self.coming = message["more_body"]
            self._pace.heard(len(message["body"]), self._clock() - began)
        if self.coming and self._pace.left <= 0:
            raise _too_slow()
        return message


def _ends(scope: Scope, status: int) -> bool:
    """Say whether an answer to a request whose body was not heard to its end ends the connection.

    It does where nobody waits for the body any more, and where that may not fit the server's buffer.
    """
    given = dict(scope["headers"])
    length = given.get(b"content-length", b"0")
    return status == 408 or b"transfer-encoding" in given or not length.isdigit() or int(length) > BUFFERED


def _too_slow() -> TooSlow:
    return TooSlow(
        "The body came too slowly, and nothing of it was kept.", fix="Send it again over a faster connection."
    )
