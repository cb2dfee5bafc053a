"""An answer in pieces over a real broker, with the permissions the services have."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from contracts.chat import AskChat, ChatPiece, Turn
from libs.bus import Router, streaming
from libs.db import Database
from libs.errors import BadRequest, Busy, WoodshedError
from libs.service import App
from libs.testing.platform import World

LONG = 30.0


def asked(about: str) -> AskChat:
    return AskChat(tenant="acme", base_model="base", messages=(Turn("user", about),))


class Speaker:
    """An evaluator that says numbers without end, or what it was asked to do."""

    def __init__(self) -> None:
        self.router = Router("evaluator")
        self.router.streams(AskChat)(self.speak)
        self.closed = asyncio.Event()
        self.waiting = asyncio.Event()
        self.said = 0

    async def speak(self, question: AskChat, database: Database) -> AsyncGenerator[ChatPiece]:
        try:
            match question.messages[0].content:
                case "two":
                    yield ChatPiece(text="1")
                    yield ChatPiece(text="2", finish="stop")
                case "refuse":
                    yield ChatPiece(text="1")
                    raise BadRequest("Too long.", code="too_long", field="messages")
                case "break":
                    raise RuntimeError("a bug")
                case "wait":
                    yield ChatPiece(text="1")
                    self.waiting.set()
                    await asyncio.Event().wait()
                case _:
                    while True:
                        self.said += 1
                        yield ChatPiece(text=str(self.said))
        finally:
            self.closed.set()


async def test_an_answer_in_pieces_comes_in_order_is_broken_off_and_stops_when_nobody_reads(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Speaker()
    gateway, evaluator = await world.platform("gateway"), await world.platform("evaluator")
    async with world.service(App(speaker.router), evaluator):
        whole = [piece.text async for piece in gateway.bus.stream(asked("two"), ChatPiece, silence=LONG)]
        assert whole == ["1", "2"]

        refused = gateway.bus.stream(asked("refuse"), ChatPiece, silence=LONG)
        assert (await anext(refused)).text == "1"
        with pytest.raises(BadRequest, match="Too long") as why:
            await anext(refused)
        assert (why.value.code, why.value.field) == ("too_long", "messages")

        with pytest.raises(WoodshedError, match="went wrong"):
            await anext(gateway.bus.stream(asked("break"), ChatPiece, silence=LONG))

        speaker.closed.clear()
        async with aclosing(gateway.bus.stream(asked("endless"), ChatPiece, silence=LONG)) as pieces:
            assert (await anext(pieces)).text == "1"
            two = [piece.text async for piece in gateway.bus.stream(asked("two"), ChatPiece, silence=LONG)]
            assert two == ["1", "2"], "another is answered meanwhile"
            assert speaker.said == 1, "nothing is said ahead of the reader"
        async with asyncio.timeout(LONG):
            await speaker.closed.wait()

        speaker.closed.clear()
        reading = asyncio.create_task(_all(gateway.bus.stream(asked("endless"), ChatPiece, silence=LONG)))
        async with asyncio.timeout(LONG):
            while speaker.said < 100:
                await asyncio.sleep(0.01)
        monkeypatch.setattr(streaming, "UNREAD", 1.0)
        await gateway.bus.close()
        async with asyncio.timeout(LONG):
            await speaker.closed.wait()
        reading.cancel()


async def test_who_stops_says_so_to_those_it_answers(world: World) -> None:
    speaker = Speaker()
    gateway, evaluator = await world.platform("gateway"), await world.platform("evaluator")
    async with world.service(App(speaker.router), evaluator):
        heard = asyncio.create_task(_all(gateway.bus.stream(asked("wait"), ChatPiece, silence=LONG)))
        async with asyncio.timeout(LONG):
            await speaker.waiting.wait()
    with pytest.raises(Busy, match="being stopped"):
        await heard


async def test_whoever_is_told_to_stop_reading_stops_at_whatever_moment(world: World) -> None:
    speaker, chance = Speaker(), random.Random(11)
    gateway, evaluator = await world.platform("gateway"), await world.platform("evaluator")
    async with world.service(App(speaker.router), evaluator):
        for _ in range(60):
            before = speaker.said
            reading = asyncio.create_task(_all(gateway.bus.stream(asked("endless"), ChatPiece, silence=LONG)))
            async with asyncio.timeout(LONG):
                while speaker.said < before + 3:
                    await asyncio.sleep(0)
            for _ in range(chance.randrange(20)):
                await asyncio.sleep(0)
            reading.cancel()
            done, _ = await asyncio.wait((reading,), timeout=LONG)
            assert done


async def _all(pieces: AsyncGenerator[ChatPiece]) -> list[ChatPiece]:
    return [piece async for piece in pieces]
