"""The chat engine and the trained adapter answer the same prompts: what the release gate decides on.

The fastest engine speaks first and leaves memory before the evaluation loads the adapter its own way. Where it is
transformers, the reference is transformers' own greedy ``generate``: both read a prompt in the same blocks and go on
token by token, so on one machine in one precision their arithmetic is the same. Any other engine is followed by the
adapter in float32, token by token of what it said; where it says something else, the next engine is tried.
"""

import asyncio
import gc
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from msgspec import Struct
from transformers import GenerationConfig

from contracts.chat import AskChat, Turn
from contracts.evaluations import Engine
from libs.errors import WoodshedError
from libs.lm.adapters import WHOLE
from libs.lm.chat import ChatFormat
from libs.lm.generate import Loaded, load
from libs.lm.llama import NoLlama
from services.evaluator.answering.conversation import Conversation
from services.evaluator.answering.models import Key, Models, speaks_llama
from services.evaluator.answering.shapes import Spec
from services.evaluator.domain.engines import LLAMA, TRANSFORMERS, VLLM
from services.evaluator.domain.owed import opening
from services.evaluator.domain.recalling import BLOCK
from services.evaluator.domain.serving import Compared, Step, compare
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


def compared(spec: ScoringSpec, loaded: Loaded, precision: str, engine: Engine, served: Sequence[Served]) -> Compared:
    """Let the adapter, loaded as the evaluation loads it in ``precision``, answer the same prompts, and compare.

    Engines with an arithmetic of their own are held against float32.
    """
    if engine == TRANSFORMERS:
        return compare([_steps(each, _trained(loaded, each)) for each in served], precision)
    exact = loaded if precision == "float32" else load(Path(spec.base), Path(spec.adapter), dtype="float32")
    return compare([_steps(each, _followed(exact, each)) for each in served], "float32", engine)


def _spoken_here(spec: ScoringSpec, given: Sequence[Prompt], engine: Engine) -> list[Served]:
    """Let conversations take turns, as they do in the answering process."""
    settings = Spec(
        threads=spec.threads,
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


def _steps(served: Served, trained: Sequence[torch.Tensor]) -> list[Step]:
    """Compare one reply up to the first token on which both part; the engine may tell no figure for an ending one."""
    steps = []
    for token, logprob, logs in zip(served.tokens, [*served.logprobs, None], trained, strict=False):
        best, known = int(logs.argmax()), float(logs[token])
        steps.append(Step(served=known if logprob is None else logprob, trained=known, best=float(logs[best])))
        if best != token:
            break
    return steps


def _followed(loaded: Loaded, served: Served) -> list[torch.Tensor]:
    """Return what the adapter would say after the prompt, and after each token that the engine said."""
    if not served.tokens:
        return []
    with loaded.tuned(True) as model:
        ids = torch.tensor([[*served.prompt, *served.tokens[:-1]]], device=model.device)
        made = model(input_ids=ids, logits_to_keep=len(served.tokens))
    return [logits.float().log_softmax(-1) for logits in made.logits[0]]


def _trained(loaded: Loaded, served: Served) -> list[torch.Tensor]:
    end = loaded.chat.end_token
    settings = GenerationConfig(
        max_new_tokens=REPLY_TOKENS,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=end,
        prefill_chunk_size=BLOCK,
        return_dict_in_generate=True,
        output_logits=True,
    )
    with loaded.tuned(True) as model:
        ids = torch.tensor([served.prompt], device=model.device)
        made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    return [logits[0].float().log_softmax(-1) for logits in made.logits]
