"""How slowly a client may send: nothing here waits, the clock is moved by hand."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import TooSlow
from services.gateway.domain.pace import Pace
from services.gateway.pacing import Listening, paced

END = {"type": "http.request", "body": b"", "more_body": False}


def part(size: int) -> dict[str, Any]:
    return {"type": "http.request", "body": b"x" * size, "more_body": True}


class Sender:
    """A client whose parts come after so many seconds of a clock that nobody waits for."""

    def __init__(self, *parts: tuple[float, dict[str, Any]]) -> None:
        self._parts = list(parts)
        self.now = 0.0

    async def receive(self) -> Any:
        after, message = self._parts.pop(0)
        self.now += after
        return message

    def clock(self) -> float:
        return self.now


async def read(sender: Sender, pace: Pace, works: float = 0.0) -> int:
    """Read a body, working for some seconds after each part of it; return its size."""
    receive, size = Listening(sender.receive, pace, sender.clock), 0  # type: ignore[arg-type]
    while True:
        message: Any = await receive()
        size += len(message["body"])
        sender.now += works
        if not message["more_body"]:
            return size


@given(st.lists(st.floats(0, 19.9), max_size=50))
def test_who_sends_at_the_least_rate_may_go_on_for_ever(waits: list[float]) -> None:
    pace = Pace(1000, 20)
    for waited in waits:
        pace.heard(int(waited * 1000) + 1, waited)
        assert pace.left == 20


async def test_a_byte_a_second_uses_the_patience_up() -> None:
    with pytest.raises(TooSlow):
        await read(Sender(*[(1.0, part(1))] * 21, (0.0, END)), Pace(1000, 20))
    assert await read(Sender(*[(1.0, part(1))] * 19, (0.0, END)), Pace(1000, 20)) == 19


async def test_bytes_sent_in_advance_buy_no_more_patience_than_there_was_at_first() -> None:
    with pytest.raises(TooSlow):
        await read(Sender((0.0, part(1_000_000)), (21.0, part(1)), (0.0, END)), Pace(1000, 20))


async def test_only_waiting_for_the_client_counts() -> None:
    assert await read(Sender(*[(0.1, part(100))] * 100, (0.0, END)), Pace(1000, 20), works=60.0) == 10_000


async def test_who_sends_nothing_more_is_not_waited_for() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(TooSlow):
        await Listening(never, Pace(1000, 0.01))()


async def test_what_comes_after_a_body_is_waited_for_without_end() -> None:
    sender = Sender((0.0, END), (1e6, {"type": "http.disconnect"}))
    receive = Listening(sender.receive, Pace(1000, 20), sender.clock)  # type: ignore[arg-type]
    assert await receive() == END
    assert await receive() == {"type": "http.disconnect"}


@pytest.mark.parametrize(
    ("length", "reads", "status", "ends"),
    [
        (b"1000000", False, 413, True),
        (b"1000000", True, 201, False),
        (b"200", False, 401, False),
        (b"200", False, 408, True),
        (b"", False, 200, False),
    ],
)
async def test_who_is_answered_before_a_large_body_was_read_is_told_that_the_connection_ends(
    length: bytes, reads: bool, status: int, ends: bool
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if reads:
            await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def receive() -> Any:
        return END

    async def send(message: Any) -> None:
        said.append(message)

    said: list[Any] = []
    scope: Any = {"type": "http", "headers": [(b"content-length", length)] if length else []}
    await paced(app, 1000, 20)(scope, receive, send)  # type: ignore[arg-type]
    assert said[0]["headers"] == ([(b"connection", b"close")] if ends else [])
