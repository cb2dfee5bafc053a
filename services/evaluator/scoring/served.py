"""The chat engine and the trained adapter answer the same prompts: what the release gate decides on.

The engine speaks first and leaves memory before the evaluation loads the adapter its own way; transformers' own
greedy ``generate`` is then the reference. Both read a prompt in the same blocks and go on token by token, so on one
machine in one precision their arithmetic is the same.
"""

import gc
from collections.abc import Sequence
from itertools import islice

import torch
from msgspec import Struct
from transformers import GenerationConfig

from contracts.chat import AskChat, Turn
from libs.lm.chat import ChatFormat
from libs.lm.generate import Loaded
from services.evaluator.answering.conversation import Conversation
from services.evaluator.answering.models import Key, Models
from services.evaluator.answering.shapes import Spec
from services.evaluator.domain.owed import opening
from services.evaluator.domain.recalling import BLOCK
from services.evaluator.domain.serving import Compared, Step, compare
from services.evaluator.scoring.held_out import Conversation as HeldOut
from services.evaluator.scoring.shapes import Question, ScoringSpec

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


def spoken(spec: ScoringSpec, given: Sequence[Prompt]) -> list[Served]:
    """Let the chat engine answer each prompt, in turns as it does; nothing of it stays in memory."""
    models = Models(Spec(threads=spec.threads, precision=spec.precision, kept=1, reply_limit=REPLY_TOKENS))
    model = models.get(Key(spec.base, spec.adapter), set())
    talks = [Conversation(_question(each), model, REPLY_TOKENS) for each in given]
    logprobs: list[list[float]] = [[] for _ in talks]
    while not all(talk.done for talk in talks):
        for talk, logs in zip(talks, logprobs, strict=True):
            piece = None if talk.done else talk.turn()
            logs += [token.logprob for token in piece.tokens] if piece else []
    prompts = [model.chat.prompt(each) for each in given]
    found = [Served(*each) for each in zip(prompts, [talk.said for talk in talks], logprobs, strict=True)]
    del models, model, talks
    gc.collect()
    return found


def compared(loaded: Loaded, served: Sequence[Served], precision: str) -> Compared:
    """Let the adapter, loaded as the evaluation loads it, answer the same prompts, and compare."""
    return compare([_steps(loaded, each) for each in served], precision)


def _question(prompt: Prompt) -> AskChat:
    return AskChat(
        tenant="platform",
        base_model="",
        messages=tuple(Turn(each["role"], each["content"]) for each in prompt),
        temperature=0.0,
        logprobs=True,
    )


def _steps(loaded: Loaded, served: Served) -> list[Step]:
    """Compare one reply up to the first token on which both part; the engine tells no figure for an ending one."""
    steps = []
    for token, logprob, logs in zip(served.tokens, [*served.logprobs, None], _trained(loaded, served), strict=False):
        best, trained = int(logs.argmax()), float(logs[token])
        steps.append(Step(served=trained if logprob is None else logprob, trained=trained, best=float(logs[best])))
        if best != token:
            break
    return steps


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
