"""Replies of models, from a process that loads them when first asked and leaves when nobody asks any more."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from contracts.chat import AskChat, ChatPiece, Turn
from contracts.evaluations import ModelReplied
from libs.errors import Busy, NotFound
from libs.lm.models import UnknownModel, resolve
from libs.lm.sharing import SPEAKING
from libs.storage import Storage
from services.evaluator import child, fetching
from services.evaluator.answering.shapes import Begin, Said, Spec, Stop, merged
from services.evaluator.carrying_out import cache, remote, threads
from services.evaluator.domain.engines import VLLM
from services.evaluator.queries import Released
from services.evaluator.scoring.failures import refused
from services.evaluator.settings import Settings

if TYPE_CHECKING:
    from services.evaluator.vllm import Vllm

log = structlog.get_logger()

LOOK = 1.0
BEAT = 5.0
"""Seconds without a word after which an asker is told that somebody is still at work."""
STUCK = 600.0
"""Seconds without a word to a conversation after which the process is taken for stuck, and replaced."""
DEADLINE = 110.0

Words = asyncio.Queue[Said | None]


class Asker:
    """Keeps at most one answering process, and every conversation with it apart from the others."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.storage = storage
        self._door = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._child: child.Child | None = None
        self._listening: asyncio.Task[None] | None = None
        self._talks: dict[int, Words] = {}
        self._numbers = itertools.count(1)
        self._used = 0.0
        self._vllm = self._server()

    async def ask(self, model: Released, prompt: str, max_tokens: int) -> ModelReplied:
        """Let base and tuned answer, greedily. ``Busy`` when it takes too long or too many are being answered."""
        question = AskChat(
            tenant=model.run.tenant,
            base_model=model.run.base_model,
            messages=(Turn("user", prompt),),
            max_tokens=max_tokens,
            temperature=0.0,
        )
        try:
            async with asyncio.timeout(DEADLINE):
                return ModelReplied(base=await self._whole(question, None), tuned=await self._whole(question, model))
        except TimeoutError:
            raise Busy(f"The models did not answer within {DEADLINE:.0f} s. Ask again, or for fewer tokens.") from None

    async def chat(self, question: AskChat, model: Released | None) -> AsyncGenerator[ChatPiece]:
        """Yield the reply of a base, or of what a run made of it; closing this stops the reply.

        ``NotFound`` when a model is missing, ``BadRequest`` when the conversation does not fit it, ``Busy`` when too
        many are being answered or the process died.
        """
        base = self._base(model.run.base_model if model else question.base_model)
        folder = Path(self.settings.data_dir) / "evaluator" / "adapters"
        adapter = str(await fetching.adapter(self.storage, model.run, folder)) if model else ""
        async with aclosing(self.talk(question, base, adapter, model.engine if model else "")) as pieces:
            async for piece in pieces:
                yield piece

    async def talk(self, question: AskChat, base: str, adapter: str, engine: str = "") -> AsyncGenerator[ChatPiece]:
        """Yield the reply of a base, or of an adapter on it, both of them folders of this machine."""
        if self._vllm and engine in ("", VLLM):
            async with aclosing(self._vllm.talk(question, base, adapter)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        if len(self._talks) >= self.settings.conversations:
            raise Busy("The models are answering others right now. Ask again in a few seconds.", after=5.0)
        number, words = next(self._numbers), Words()
        self._talks[number] = words
        finish = ""
        try:
            await self._begin(Begin(id=number, base=base, adapter=adapter, question=question, engine=engine))
            while not finish:
                piece = await self._heard(words)
                finish = piece.finish
                yield piece
        finally:
            del self._talks[number]
            self._used = time.monotonic()
            if self._child and not finish:
                with contextlib.suppress(OSError):
                    await self._child.put(msgspec.json.encode(Stop(id=number)))

    @property
    def talking(self) -> int:
        """How many conversations are going on."""
        return len(self._talks)

    async def run(self) -> None:
        """Send an unused process away, until cancelled; then send it away for good."""
        try:
            while True:
                await asyncio.sleep(LOOK)
                if self._child and not self._talks and time.monotonic() - self._used > self.settings.ask_idle:
                    await self._leave(self._child)
        finally:
            if self._child:
                await self._leave(self._child)
            if self._vllm:
                await self._vllm.close()

    def _server(self) -> "Vllm | None":
        found = remote(self.settings)
        if found is None:
            return None
        from services.evaluator.vllm import Vllm

        return Vllm(found)

    def _base(self, name: str) -> str:
        try:
            return str(resolve(Path(self.settings.models_dir), name))
        except UnknownModel as error:
            raise NotFound(str(error), code="model_missing") from error

    async def _whole(self, question: AskChat, model: Released | None) -> str:
        async with aclosing(self.chat(question, model)) as pieces:
            return "".join([piece.text async for piece in pieces]).strip()

    async def _heard(self, words: Words) -> ChatPiece:
        """Return what was said since, put together."""
        try:
            async with asyncio.timeout(STUCK):
                found = [await words.get()]
        except TimeoutError:
            if self._child:
                await self._leave(self._child)
            raise _died() from None
        while not words.empty():
            found.append(words.get_nowait())
        pieces = []
        for said in found:
            if said is None:
                raise _died()
            if said.failure:
                raise refused(said.failure)
            pieces.append(said.piece or ChatPiece())
        return merged(pieces)

    async def _begin(self, order: Begin) -> None:
        try:
            await (await self._present()).put(msgspec.json.encode(order))
        except OSError as error:
            raise _died() from error

    async def _present(self) -> child.Child:
        async with self._door:
            if self._child is None:
                self._child = await self._stack.enter_async_context(
                    child.started(
                        "services.evaluator.answering",
                        msgspec.json.encode(self._spec()).decode(),
                        environment=SPEAKING,
                    )
                )
                self._listening = asyncio.create_task(self._listen(self._child))
                log.info("answering process started")
            return self._child

    def _spec(self) -> Spec:
        return Spec(
            threads=threads(self.settings),
            precision=self.settings.precision,
            kept=self.settings.kept_models,
            reply_limit=self.settings.reply_limit,
            engine=self.settings.engine,
            cache=str(cache(self.settings)),
            prompt_bytes=self.settings.prompt_memory * 2**20,
        )

    async def _listen(self, process: child.Child) -> None:
        async for line in process.lines():
            said = msgspec.json.decode(line, type=Said)
            if said.id in self._talks:
                self._talks[said.id].put_nowait(said)
        await self._leave(process)

    async def _leave(self, process: child.Child) -> None:
        """Send the process away, and tell everybody who still listens to it."""
        async with self._door:
            if self._child is not process:
                return
            self._child = None
            for words in self._talks.values():
                words.put_nowait(None)
            await self._stack.aclose()


async def with_signs_of_life(pieces: AsyncGenerator[ChatPiece]) -> AsyncGenerator[ChatPiece]:
    """Yield pieces, and an empty one whenever there was none for ``BEAT`` seconds."""
    coming = asyncio.create_task(_next(pieces))
    try:
        while True:
            await asyncio.wait((coming,), timeout=BEAT)
            if not coming.done():
                yield ChatPiece()
                continue
            piece = coming.result()
            if piece is None:
                return
            yield piece
            coming = asyncio.create_task(_next(pieces))
    finally:
        coming.cancel()
        await asyncio.wait((coming,))
        await pieces.aclose()


async def _next(pieces: AsyncGenerator[ChatPiece]) -> ChatPiece | None:
    return await anext(pieces, None)


def _died() -> Busy:
    return Busy("The process that answers for models ended unexpectedly. Ask again: a fresh one starts.", after=2.0)
