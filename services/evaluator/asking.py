"""Answers for a finished model, from a process that loads when first asked and leaves when nobody asks any more."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import structlog

from contracts.evaluations import ModelReplied
from contracts.runs import RunFinished
from libs.errors import Busy, Rejected
from libs.lm.models import UnknownModel, resolve
from libs.storage import Storage
from services.evaluator import child, fetching
from services.evaluator.answering.shapes import Asked, Said
from services.evaluator.carrying_out import threads
from services.evaluator.settings import Settings

log = structlog.get_logger()

WAITING_ROOM = 2
"""How many questions may be in the house at once: the second waits for the first, a third is told to come back."""
LOOK = 1.0
DEADLINE = 110.0


class Asker:
    """Keeps at most one answering process, one question at a time."""

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.storage = storage
        self._turn = asyncio.Lock()
        self._here = 0
        self._stack = AsyncExitStack()
        self._child: child.Child | None = None
        self._used = 0.0

    async def ask(self, run: RunFinished, prompt: str, max_tokens: int) -> ModelReplied:
        """Let base and tuned answer. ``Busy`` when others are waiting already or the process failed."""
        if self._here >= WAITING_ROOM:
            raise Busy("The models are answering others right now. Ask again in a few seconds.", after=5.0)
        self._here += 1
        try:
            async with self._turn, asyncio.timeout(DEADLINE):
                return await self._ask(run, prompt, max_tokens)
        except TimeoutError:
            raise Busy(f"The models did not answer within {DEADLINE:.0f} s. Ask again, or for fewer tokens.") from None
        finally:
            self._here -= 1

    async def run(self) -> None:
        """Send an unused process away, until cancelled; then send it away for good."""
        try:
            while True:
                await asyncio.sleep(LOOK)
                async with self._turn:
                    if self._child and time.monotonic() - self._used > self.settings.ask_idle:
                        await self._leave()
        finally:
            await self._leave()

    @property
    def loaded(self) -> bool:
        """Whether an answering process is there now."""
        return self._child is not None

    async def _ask(self, run: RunFinished, prompt: str, max_tokens: int) -> ModelReplied:
        try:
            base = resolve(Path(self.settings.models_dir), run.base_model)
        except UnknownModel as error:
            raise Rejected(str(error), code="model_missing") from error
        adapter = await fetching.adapter(self.storage, run, Path(self.settings.data_dir) / "evaluator" / "adapters")
        said = await self._exchange(
            Asked(
                base=str(base),
                adapter=str(adapter),
                prompt=prompt,
                max_tokens=max_tokens,
                threads=threads(self.settings),
                precision=self.settings.precision,
            )
        )
        self._used = time.monotonic()
        if said.failure:
            raise Rejected(said.failure.message, code=said.failure.reason)
        return ModelReplied(base=said.base, tuned=said.tuned)

    async def _exchange(self, asked: Asked) -> Said:
        """Put one line in, read one line out; a process that dies or is interrupted midway is replaced next time."""
        try:
            process = await self._present()
            await process.put(msgspec.json.encode(asked))
            line = await process.line()
        except BaseException as error:
            await self._leave()
            if isinstance(error, OSError):
                raise _died() from error
            raise
        if not line:
            await self._leave()
            raise _died()
        return msgspec.json.decode(line, type=Said)

    async def _present(self) -> child.Child:
        if self._child is None:
            self._child = await self._stack.enter_async_context(child.started("services.evaluator.answering"))
            log.info("answering process started")
        return self._child

    async def _leave(self) -> None:
        self._child = None
        await self._stack.aclose()


def _died() -> Busy:
    return Busy("The process that answers for models ended unexpectedly. Ask again: a fresh one starts.", after=2.0)
