"""Chats through a server that speaks vLLM's wire: a fake one on a socket of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from contracts.chat import AskChat, ChatPiece, Turn
from contracts.recipes import SHIPPED_MODEL
from libs.errors import BadRequest, Busy
from libs.lm.chat import ChatFormat
from libs.storage import Storage
from libs.testing.vllm import FakeVllm, Said
from services.evaluator.asking import Asker
from services.evaluator.domain.engines import VLLM, Remote
from services.evaluator.settings import Settings
from services.evaluator.vllm import Vllm

REPLY = "Breathe. Then pay the smallest one."


@pytest.fixture(scope="module")
def chat(shipped_model: Path) -> ChatFormat:
    return ChatFormat.load(shipped_model)


@pytest.fixture
async def server(chat: ChatFormat) -> AsyncIterator[FakeVllm]:
    ids = [*chat.plain(REPLY), chat.end_token]
    async with FakeVllm(lambda asked: _spelled(ids)[: asked["max_tokens"]]).listening() as fake:
        yield fake


def _spelled(ids: list[int]) -> list[Said]:
    return [(each, -0.5, {each: -0.5, 7: -1.5, 9: -2.5}) for each in ids]


def asked(**changes: Any) -> AskChat:
    given = {"messages": (Turn("user", "I owe 700 dollars. What is first?"),), "max_tokens": 40} | changes
    return AskChat(tenant="acme", base_model=SHIPPED_MODEL, **given)


def remote(server: FakeVllm, **changes: Any) -> Remote:
    usual = {"url": server.url, "key": "", "adapters": "", "kept": 2, "conversations": 8, "reply_limit": 64}
    return Remote(**(usual | changes))


async def said(vllm: Vllm, question: AskChat, base: Path, adapter: str = "") -> list[ChatPiece]:
    async with aclosing(vllm.talk(question, str(base), adapter)) as pieces:
        return [piece async for piece in pieces]


async def test_a_reply_comes_token_by_token_and_its_figures_are_the_servers(
    server: FakeVllm, shipped_model: Path, chat: ChatFormat
) -> None:
    question = asked(logprobs=True, top_logprobs=2, seed=5, temperature=0.0)
    pieces = await said(Vllm(remote(server)), question, shipped_model, "/here/adapter-1")
    assert "".join(piece.text for piece in pieces) == REPLY
    assert (pieces[-1].finish, pieces[-1].completion_tokens) == ("stop", len(chat.plain(REPLY)))
    tokens = [token for piece in pieces for token in piece.tokens]
    assert [token.octets for token in tokens] == [chat.spelled(each) for each in chat.plain(REPLY)]
    assert {(token.logprob, *(other.logprob for other in token.top)) for token in tokens} == {(-0.5, -0.5, -1.5)}
    (request,) = server.requests
    assert request["prompt"] == chat.prompt([{"role": "user", "content": question.messages[0].content}])
    assert (request["model"], request["seed"], request["temperature"], request["logprobs"]) == ("adapter-1", 5, 0.0, 2)
    assert server.adapters == {"adapter-1": "/here/adapter-1"}


async def test_a_limit_and_a_stop_string_end_a_reply_and_the_server_is_told_by_hanging_up(
    server: FakeVllm, shipped_model: Path, chat: ChatFormat
) -> None:
    vllm = Vllm(remote(server))
    pieces = await said(vllm, asked(max_tokens=3), shipped_model)
    assert (pieces[-1].finish, pieces[-1].completion_tokens) == ("length", 3)
    server.says = lambda _: _spelled(chat.plain(REPLY) * 3000)
    pieces = await said(vllm, asked(stop=("pay",), max_tokens=2000), shipped_model)
    assert ("".join(piece.text for piece in pieces), pieces[-1].finish) == ("Breathe. Then ", "stop")
    async with asyncio.timeout(60):
        await server.left.wait()


async def test_adapters_are_put_on_and_the_one_not_asked_for_longest_makes_room(
    server: FakeVllm, shipped_model: Path
) -> None:
    vllm = Vllm(remote(server, adapters="/there/"))
    for name in ("adapter-1", "adapter-2", "adapter-1", "adapter-3"):
        await said(vllm, asked(), shipped_model, f"/here/{name}")
    assert server.adapters == {"adapter-1": "/there/adapter-1", "adapter-3": "/there/adapter-3"}
    assert [request["model"] for request in server.requests] == ["adapter-1", "adapter-2", "adapter-1", "adapter-3"]
    restarted = Vllm(remote(server))
    assert (await said(restarted, asked(), shipped_model, "/here/adapter-1"))[-1].finish == "stop"


async def test_a_server_that_forgot_an_adapter_never_answers_as_the_base(server: FakeVllm, shipped_model: Path) -> None:
    vllm = Vllm(remote(server))
    await said(vllm, asked(), shipped_model, "/here/adapter-1")
    server.adapters.clear()
    with pytest.raises(Busy, match="does not exist"):
        await said(vllm, asked(), shipped_model, "/here/adapter-1")
    assert (await said(vllm, asked(), shipped_model, "/here/adapter-1"))[-1].finish == "stop"


async def test_where_a_server_is_set_bases_speak_there_and_so_does_what_was_released_there(
    server: FakeVllm, shipped_model: Path
) -> None:
    settings = Settings(models_dir=str(shipped_model.parent), vllm_url=server.url, nats_password="-", database_url="-")
    asker = Asker(settings, Storage.open(f"file://{shipped_model.parent}"))
    for adapter, engine in (("", ""), ("/here/adapter-1", VLLM)):
        async with aclosing(asker.talk(asked(), str(shipped_model), adapter, engine)) as pieces:
            assert "".join([piece.text async for piece in pieces]) == REPLY
    assert [request["model"] for request in server.requests] == [SHIPPED_MODEL, "adapter-1"]


async def test_what_cannot_be_answered_is_said_so(server: FakeVllm, shipped_model: Path) -> None:
    with pytest.raises(BadRequest) as refused:
        await said(Vllm(remote(server)), asked(messages=(Turn("user", "a " * 9000),)), shipped_model)
    assert (refused.value.code, server.requests) == ("context_length_exceeded", [])
    server.says = lambda _: []
    with pytest.raises(Busy, match="ended its answer early"):
        await said(Vllm(remote(server)), asked(), shipped_model)
    with pytest.raises(Busy, match="does not answer"):
        await said(Vllm(remote(server, url="http://127.0.0.1:9")), asked(), shipped_model)
    with pytest.raises(Busy, match="answering others"):
        await said(Vllm(remote(server, conversations=0)), asked(), shipped_model)
