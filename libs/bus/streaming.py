"""Answers that come in pieces over plain NATS: in order, one under way, and only while somebody reads.

Each piece is a request to the asker's inbox, which the asker acknowledges when it wants the next one. NATS grants one
answer for each message heard, so the acknowledgement names the inbox again: it is the right to send the next piece.
One that names none says that the asker leaves. An empty message ends the answer, a refusal breaks it off. Where the
asker is gone without a word, NATS says that nobody listens.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import nats.errors
import structlog
from msgspec import Struct

from contracts.base import encode

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = structlog.get_logger()

Messages = asyncio.Queue["Msg"]

END = b""
UNREAD = 30.0
"""Seconds a piece may wait for its acknowledgement: a reader slower than that has left."""
NOBODY = "503"


async def send(nc: "Client", inbox: str, pieces: AsyncGenerator[Struct]) -> None:
    """Send an answer piece by piece; when nobody reads any more, ``pieces`` is closed and that is all."""
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if not await _wanted(nc, inbox, encode(piece)):
                log.info("nobody reads the answer any more")
                return
    await nc.publish(inbox, END)


async def _wanted(nc: "Client", inbox: str, piece: bytes) -> bool:
    """Send a piece; tell whether there shall be more."""
    try:
        return bool((await nc.request(inbox, piece, timeout=UNREAD)).reply)
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return False


async def receive(
    nc: "Client", subject: str, body: bytes, *, headers: dict[str, str] | None, silence: float
) -> AsyncGenerator[bytes]:
    """Ask, and yield the answer's messages until its end; closing this tells the answerer to stop.

    ``nats.errors.NoRespondersError`` when nobody answers such questions, ``TimeoutError`` when the answerer is silent
    for ``silence`` seconds.
    """
    inbox, heard = nc.new_inbox(), Messages()
    subscription = await nc.subscribe(inbox, cb=heard.put)
    over, unread = False, ""
    try:
        await nc.publish(subject, body, reply=inbox, headers=headers)
        while True:
            message = await _next(heard, silence)
            over, unread = not message.reply, message.reply
            if _is_nobody(message):
                raise nats.errors.NoRespondersError
            if message.data == END:
                return
            yield message.data
            await nc.publish(unread, reply=inbox)
            unread = ""
    finally:
        leaving = asyncio.create_task(_leave(nc, subscription, heard, unread, 0.0 if over else silence))
        _leaving.add(leaving)
        leaving.add_done_callback(_leaving.discard)


_leaving: set[asyncio.Task[None]] = set()


async def _next(heard: Messages, silence: float) -> "Msg":
    """Wait for a message. nats-py's own ``next_msg`` forgets a cancellation that comes together with one."""
    async with asyncio.timeout(silence):
        return await heard.get()


async def _leave(nc: "Client", subscription: "Subscription", heard: Messages, unread: str, silence: float) -> None:
    """Acknowledge the last piece, or the next one where none is unread, without asking for another."""
    with contextlib.suppress(TimeoutError, nats.errors.Error):
        place = unread or (silence and (await _next(heard, silence)).reply)
        if place:
            await nc.publish(place)
    with contextlib.suppress(nats.errors.Error):
        await subscription.unsubscribe()


def _is_nobody(message: "Msg") -> bool:
    return (message.headers or {}).get("Status") == NOBODY
