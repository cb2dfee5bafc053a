"""The chat engine answers a few prompts, before the adapter is loaded as it is measured. Imports no torch by itself.

What it says is held against the trained adapter by ``served``.
"""

import asyncio
import gc
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from msgspec import Struct

from contracts.chat import AskChat, Turn
from contracts.evaluations import Engine
from libs.errors import WoodshedError
from libs.lm.adapters import WHOLE
from libs.lm.chat import ChatFormat
from libs.lm.llama import NoLlama
from services.evaluator.answering.conversation import Conversation
from services.evaluator.answering.models import Key, Models, speaks_llama
from services.evaluator.answering.shapes import Spec
from services.evaluator.domain.engines import LLAMA, TRANSFORMERS, VLLM
from services.evaluator.domain.owed import opening
from services.evaluator.scoring.held_out import Conversation as HeldOut
from services.evaluator.scoring.shapes import Question, ScoringSpec
from services.evaluator.vllm import Vllm

PROMPTS = 3
PROMPT_TOKENS = 256
"""Longest prompt put to both: what tells engines apart shows in short ones."""
REPLY_TOKENS = 8

Prompt = list[dict[str, str]]


class Served(Struct, frozen=True):
    """What the engine answered to one prompt: tokens, and the log-probability it told for each."""

    prompt: list[int]
    tokens: list[int]
    logprobs: list[float]


def prompts(chat: ChatFormat, conversations: Sequence[HeldOut], questions: Sequence[Question]) -> list[Prompt]:
    """Return openings of held-out conversations, and where there are too few short ones, questions of the suite."""
    openings = (opening(each.messages)[0] for each in conversations)
    asked = ([{"role": "user", "content": each.question}] for each in questions)
    short = (each for each in openings if each and len(chat.prompt(each)) <= PROMPT_TOKENS)
    return [*islice(short, PROMPTS), *asked][:PROMPTS]


def engines(spec: ScoringSpec) -> list[Engine]:
    """Return what may speak for the model, the fastest first; transformers may always."""
    server = spec.remote is not None and not (Path(spec.adapter) / WHOLE).is_file()
    llama = speaks_llama(spec.engine, Key(spec.base, spec.adapter))
    able: dict[Engine, bool] = {VLLM: server, LLAMA: llama, TRANSFORMERS: True}
    return [engine for engine, can in able.items() if can]


def spoken(spec: ScoringSpec, given: Sequence[Prompt], engine: Engine) -> list[Served]:
    """Let an engine answer each prompt as in a chat; nothing of it stays in memory.

    An engine that cannot answer says nothing, which no comparison takes for the trained model.
    """
    if engine == TRANSFORMERS:
        return _spoken_here(spec, given, engine)
    try:
        return asyncio.run(_spoken_there(spec, given)) if engine == VLLM else _spoken_here(spec, given, engine)
    except (NoLlama, OSError, WoodshedError) as error:
        print(f"{engine} does not answer: {error}", file=sys.stderr, flush=True)
        return [Served([], [], []) for _ in given]


def _spoken_here(spec: ScoringSpec, given: Sequence[Prompt], engine: Engine) -> list[Served]:
    """Let conversations take turns, as they do in the answering process.

    Beside llama.cpp the adapter is loaded, so it takes half of the cores: on two, its threads waited for each other.
    """
    settings = Spec(
        threads=spec.threads if engine == TRANSFORMERS else max(1, spec.threads // 2),
        precision=spec.precision,
        kept=1,
        reply_limit=REPLY_TOKENS,
        engine=spec.engine,
        cache=spec.cache,
    )
    model = Models(settings).get(Key(spec.base, spec.adapter, engine), set())
    talks = [Conversation(_question(each), model, REPLY_TOKENS) for each in given]
    logprobs: list[list[float]] = [[] for _ in talks]
    while not all(talk.reply.done for talk in talks):
        for talk, logs in zip(talks, logprobs, strict=True):
            piece = None if talk.reply.done else talk.turn()
            logs += [token.logprob for token in piece.tokens] if piece else []
    found = [Served(talk.reply.prompt, talk.reply.said, logs) for talk, logs in zip(talks, logprobs, strict=True)]
    del model, talks
    gc.collect()
    return found


async def _spoken_there(spec: ScoringSpec, given: Sequence[Prompt]) -> list[Served]:
    """Let the server answer all prompts at once."""
    assert spec.remote
    server = Vllm(spec.remote)
    try:
        return await asyncio.gather(*(_answered(server, spec, _question(each)) for each in given))
    finally:
        await server.close()


async def _answered(server: Vllm, spec: ScoringSpec, question: AskChat) -> Served:
    reply = await server.begin(question, spec.base)
    said = [each async for each in server.tokens(question, reply, spec.base, spec.adapter) if not isinstance(each, str)]
    return Served(reply.prompt, [each.id for each in said], [each.logprob for each in said])


def _question(prompt: Prompt) -> AskChat:
    return AskChat(
        tenant="platform",
        base_model="",
        messages=tuple(Turn(each["role"], each["content"]) for each in prompt),
        max_tokens=REPLY_TOKENS,
        temperature=0.0,
        logprobs=True,
    )
