"""Pieces that could not be sent one by one are sent as one; silence is broken by signs of life."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from contracts.chat import ChatPiece, TokenSaid
from services.evaluator import asking
from services.evaluator.asking import merged, with_signs_of_life


def test_texts_and_tokens_are_put_together_and_the_last_piece_has_the_counts() -> None:
    one = ChatPiece(text="He", tokens=(TokenSaid(b"He", -1.0),), prompt_tokens=9, completion_tokens=1)
    two = ChatPiece(text="y", tokens=(TokenSaid(b"y", -2.0),), prompt_tokens=9, completion_tokens=2, finish="stop")
    both = merged([one, two])
    assert (both.text, both.tokens) == ("Hey", one.tokens + two.tokens)
    assert (both.completion_tokens, both.finish) == (2, "stop")


async def test_silence_is_broken_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BEAT", 0.001)
    heard_twice = asyncio.Event()

    async def pieces() -> AsyncGenerator[ChatPiece]:
        yield ChatPiece(text="one")
        await heard_twice.wait()
        yield ChatPiece(text="two")

    texts = []
    async for piece in with_signs_of_life(pieces()):
        texts.append(piece.text)
        if texts.count("") == 2:
            heard_twice.set()
    assert "".join(texts) == "onetwo"


async def test_who_leaves_while_nothing_is_said_closes_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BEAT", 0.001)
    closed = asyncio.Event()

    async def pieces() -> AsyncGenerator[ChatPiece]:
        try:
            await asyncio.Event().wait()
            yield ChatPiece()
        finally:
            closed.set()

    alive = with_signs_of_life(pieces())
    assert await anext(alive) == ChatPiece()
    await alive.aclose()
    assert closed.is_set()
