"""A conversation with a base model or with what a job made of it, on OpenAI's wire."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import msgspec
from litestar import Request, post
from litestar.params import JSONBody
from litestar.response import Stream

from contracts.base import new_id
from contracts.chat import AskChat, ChatPiece
from libs.bus import Bus
from libs.db import Database
from libs.errors import Busy, NotFound, WoodshedError
from services.gateway import problems
from services.gateway.dependencies import Db, TheBus, TheCaller, TheSettings
from services.gateway.domain.chat import ChatWish, Maker, question_of
from services.gateway.domain.completions import Completion, Head, chunks_of, completion_of, opening
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import jobs as queries
from services.gateway.questions import stream

DONE = b"data: [DONE]\n\n"
STILL_HERE = b": still here\n\n"
STREAMED = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
"""Headers of a stream: Litestar lets a route's own media type win over a response's, but not over its header."""


@post(
    "/v1/chat/completions",
    operation_id="createChatCompletion",
    summary="Continue a conversation",
    description="One reply of a base model or a trained one; with `stream` as Server-Sent Events.",
    status_code=200,
    responses=documented(404, 503),
    tags=["Chat"],
    opt=needs("models.use"),
)
async def create_chat_completion(
    data: JSONBody[ChatWish],
    request: Request[Any, Any, Any],
    caller: TheCaller,
    db: Db,
    bus: TheBus,
    settings: TheSettings,
) -> Completion | Stream:
    """Let a model continue a conversation, word by word or in one."""
    maker = Maker(data.model) if data.model in settings.models else await _maker(db, caller.tenant, data.model)
    pieces = _answered(bus, question_of(data, caller.tenant, maker), data.model)
    head = Head(
        id=new_id("chatcmpl"),
        created=int(time.time()),
        model=data.model,
        logprobs=bool(data.logprobs),
        usage=bool(data.stream_options and data.stream_options.include_usage),
    )
    if not data.stream:
        return completion_of(head, await _unless_left(request, pieces))
    first = await _begun(pieces)
    return Stream(_told(request, head, first, pieces), headers=STREAMED)


async def _maker(db: Database, tenant: str, model: str) -> Maker:
    async with db.transaction(tenant) as tx:
        rows = await queries.fine_tuned(tx, model)
    if not rows:
        raise _no_model(model)
    return Maker(rows[0]["model"], rows[0]["job_id"])


async def _answered(bus: Bus, question: AskChat, model: str) -> AsyncGenerator[ChatPiece]:
    """Yield the reply's pieces; a model that cannot be found where it should answer is missing for the client too."""
    try:
        async with aclosing(stream(bus, question, ChatPiece)) as pieces:
            async for piece in pieces:
                yield piece
    except NotFound as error:
        raise _no_model(model) from error


async def _begun(pieces: AsyncIterator[ChatPiece]) -> ChatPiece:
    """Wait until nothing can refuse the question any more: a refusal is then a status, not a stream."""
    async for piece in pieces:
        if piece.prompt_tokens:
            return piece
    raise Busy("The model said nothing at all. Ask again.")


async def _told(
    request: Request[Any, Any, Any], head: Head, first: ChatPiece, pieces: AsyncGenerator[ChatPiece]
) -> AsyncIterator[bytes]:
    """Write a reply as Server-Sent Events; what breaks it off is its last event."""
    try:
        async with aclosing(pieces):
            yield _event(opening(head, first))
            for chunk in chunks_of(head, first):
                yield _event(chunk)
            async for piece in pieces:
                chunks = chunks_of(head, piece)
                yield b"".join(_event(chunk) for chunk in chunks) if chunks else STILL_HERE
        yield DONE
    except WoodshedError as error:
        yield b"data: %b\n\n" % problems.from_error(request, error).content


async def _unless_left(request: Request[Any, Any, Any], pieces: AsyncGenerator[ChatPiece]) -> list[ChatPiece]:
    """Read the whole reply, and stop it when the client leaves."""
    reading = asyncio.create_task(_all(pieces))
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait((reading, leaving), return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return await reading
        raise Busy("The client left before the reply was whole.", code="client_left")
    finally:
        for task in (reading, leaving):
            task.cancel()
        await asyncio.gather(reading, leaving, return_exceptions=True)


async def _all(pieces: AsyncGenerator[ChatPiece]) -> list[ChatPiece]:
    async with aclosing(pieces):
        return [piece async for piece in pieces]


async def _left(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _event(chunk: object) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


def _no_model(model: str) -> NotFound:
    return NotFound(
        f"There is no model {model[:100]!r} that could answer.",
        code="model_not_found",
        field="model",
        fix="GET /v1/models lists those there are.",
    )
