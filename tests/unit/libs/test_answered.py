"""A task that was told to stop stops, even when a library swallowed the word."""

import asyncio

import pytest

from libs.bus.connection import answered


async def deaf() -> str:
    """Answer instead of being cancelled, as wait_for of Python 3.11 does where both come at once."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "the answer"
    return "nothing"


async def test_a_swallowed_cancellation_is_taken_up_again() -> None:
    waiting = asyncio.create_task(answered(deaf()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_answer_in_time_is_an_answer() -> None:
    assert await answered(asyncio.sleep(0, "the answer")) == "the answer"
