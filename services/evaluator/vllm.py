"""Models that speak through a vLLM server over HTTP: for machines with graphics cards.

The server was started by an operator with the base model under the name Woodshed knows it by, ``--enable-lora`` and
``VLLM_ALLOW_RUNTIME_LORA_UPDATING=1``; it reads adapters from a folder that both machines see. Prompts go to it as
token ids and come back as token ids, so that template, stop strings and half characters are ours, as in every engine.

Source of the wire: vLLM's documentation of its OpenAI-compatible server (completions with ``return_token_ids`` and
``return_tokens_as_token_ids``) and of adapters loaded while it runs.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
import msgspec
from msgspec import Struct

from contracts.chat import AskChat, ChatPiece
from libs.errors import BadRequest, Busy, Rejected
from libs.lm.chat import ChatFormat
from services.evaluator.answering.models import Key, fingerprint
from services.evaluator.answering.reply import Reply
from services.evaluator.answering.shapes import TOO_LONG
from services.evaluator.domain.engines import VLLM, Remote
from services.evaluator.scoring.failures import classified, refused

SILENCE = 600.0
"""Seconds without a word after which the server is taken for stuck."""
_TOKEN = "token_id:"


class Logprobs(Struct, frozen=True):
    """Of the tokens of one chunk, each spelled ``token_id:N``."""

    tokens: tuple[str, ...] = ()
    token_logprobs: tuple[float | None, ...] = ()
    top_logprobs: tuple[dict[str, float] | None, ...] = ()


class Choice(Struct, frozen=True):
    """A part of a completion."""

    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class Chunk(Struct, frozen=True):
    """One event of a completion's stream."""

    choices: tuple[Choice, ...] = ()


class Token(NamedTuple):
    """A token that was said, its log-probability (natural), and the likeliest in its place, the likeliest first."""

    id: int
    logprob: float
    top: list[tuple[int, float]]


class Vllm:
    """One vLLM server, and which adapters lie on it: up to ``kept``, the last asked for."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        headers = {"Authorization": f"Bearer {remote.key}"} if remote.key else {}
        self._http = httpx.AsyncClient(base_url=remote.url, headers=headers, timeout=httpx.Timeout(30, read=SILENCE))
        self._door = asyncio.Lock()
        self._on: OrderedDict[str, None] = OrderedDict()
        self._speaking: Counter[str] = Counter()
        self._formats: dict[str, tuple[ChatFormat, int]] = {}

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def talk(self, question: AskChat, base: str, adapter: str) -> AsyncGenerator[ChatPiece]:
        """Yield the reply of a base, or of an adapter on it, by their folders here; closing this stops the server's.

        ``BadRequest`` when the conversation does not fit the model, ``Busy`` when the server does not answer.
        """
        if self._speaking.total() >= self._remote.conversations:
            raise Busy("The models are answering others right now. Ask again in a few seconds.", after=5.0)
        reply = await self.begin(question, base)
        reply.fingerprint = fingerprint(Key(base, adapter), VLLM, self._remote.url)
        async with aclosing(self.tokens(question, reply, base, adapter)) as tokens:
            async for token in tokens:
                if isinstance(token, str):
                    yield reply.end(token)
                    return
                piece = reply.add(*token)
                yield piece or reply.accepted()
                if reply.done:
                    return

    async def begin(self, question: AskChat, base: str) -> Reply:
        """Return the reply that is to be made; its prompt is the model's template filled in here."""
        try:
            chat, context = await asyncio.to_thread(self._format, base)
            return Reply(question, chat, context, self._remote.reply_limit)
        except Exception as error:
            failure = classified(error)
            if failure is None:
                raise
            raise refused(failure) from error

    async def tokens(
        self, question: AskChat, reply: Reply, base: str, adapter: str
    ) -> AsyncGenerator[Token | Literal["stop", "length"]]:
        """Yield the tokens of a reply, then why it ended; ``Busy`` when the server breaks off before."""
        chat, _ = self._formats[base]
        async with self._model(base, adapter) as name, self._lines(_asked(question, reply, name, chat), name) as lines:
            async for line in lines:
                for choice in msgspec.json.decode(line, type=Chunk).choices:
                    for token in _said(choice.logprobs or Logprobs(), question.top_logprobs):
                        yield token
                    if choice.finish_reason:
                        yield "length" if choice.finish_reason == "length" else "stop"
                        return
        raise _away("it ended its answer early")

    def _format(self, base: str) -> tuple[ChatFormat, int]:
        if base not in self._formats:
            config = msgspec.json.decode((Path(base) / "config.json").read_bytes())
            self._formats[base] = ChatFormat.load(Path(base)), int(config["max_position_embeddings"])
        return self._formats[base]

    @asynccontextmanager
    async def _model(self, base: str, adapter: str) -> AsyncIterator[str]:
        """Give the name under which the server has a model, its adapter put on if need be."""
        name = Path(adapter or base).name
        async with self._door:
            if adapter and name not in self._on:
                await self._make_room()
                await self._put_on(name, adapter)
            if adapter:
                self._on.move_to_end(name)
            self._speaking[name] += 1
        try:
            yield name
        finally:
            self._speaking[name] -= 1

    async def _make_room(self) -> None:
        """Take off the adapter that was not asked for longest, and none that is speaking."""
        while len(self._on) >= self._remote.kept:
            oldest = next((each for each in self._on if not self._speaking[each]), None)
            if oldest is None:
                raise Busy("As many models as are kept speak right now. Ask again in a few seconds.", after=5.0)
            await self._post("/v1/unload_lora_adapter", {"lora_name": oldest})
            del self._on[oldest]

    async def _put_on(self, name: str, adapter: str) -> None:
        """Let the server load an adapter; one that it has from before is the same, being named by its content."""
        path = f"{self._remote.adapters.rstrip('/')}/{name}" if self._remote.adapters else adapter
        status, said = await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})
        if status != httpx.codes.OK and "already been loaded" not in said:
            raise _away(f"it did not take the adapter at {path}: {status} {said[:300]}")
        self._on[name] = None

    async def _post(self, path: str, body: dict[str, str]) -> tuple[int, str]:
        try:
            answer = await self._http.post(path, json=body)
        except httpx.TransportError as error:
            raise _away(repr(error)) from error
        return answer.status_code, answer.text

    @asynccontextmanager
    async def _lines(self, body: dict[str, Any], name: str) -> AsyncIterator[AsyncIterator[str]]:
        """Give the events of a completion as they come; leaving it makes the server stop."""
        try:
            async with self._http.stream("POST", "/v1/completions", json=body) as answer:
                if answer.status_code != httpx.codes.OK:
                    self._on.pop(name, None)
                    raise _declined(answer.status_code, (await answer.aread()).decode(errors="replace")[:300])
                yield (
                    line.removeprefix("data: ")
                    async for line in answer.aiter_lines()
                    if line.startswith("data: ") and line != "data: [DONE]"
                )
        except httpx.TransportError as error:
            raise _away(repr(error)) from error


def _asked(question: AskChat, reply: Reply, name: str, chat: ChatFormat) -> dict[str, Any]:
    """Return a completion request; whatever a model's own generation settings might change is named."""
    seed = {} if question.seed is None else {"seed": question.seed}
    return seed | {
        "model": name,
        "prompt": reply.prompt,
        "max_tokens": reply.limit,
        "temperature": question.temperature,
        "top_p": question.top_p,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stop_token_ids": [chat.end_token],
        "logprobs": question.top_logprobs if question.logprobs else 0,
        "return_tokens_as_token_ids": True,
        "stream": True,
    }


def _said(found: Logprobs, top: int) -> Iterator[Token]:
    others = found.top_logprobs or (None,) * len(found.tokens)
    for token, logprob, near in zip(found.tokens, found.token_logprobs, others, strict=True):
        likeliest = sorted((near or {}).items(), key=lambda each: -each[1])[:top]
        yield Token(_id(token), logprob or 0.0, [(_id(other), each) for other, each in likeliest])


def _id(spelled: str) -> int:
    return int(spelled.removeprefix(_TOKEN))


def _declined(status: int, said: str) -> Rejected | Busy:
    if status == httpx.codes.BAD_REQUEST and "context length" in said:
        return BadRequest(f"The conversation is too long for the model: {said}", code=TOO_LONG, field="messages")
    return _away(f"it answered {status} {said}")


def _away(why: str) -> Busy:
    return Busy(f"The server that answers for models does not answer: {why}. Ask again in a few seconds.", after=5.0)
