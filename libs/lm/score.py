"""How likely a model finds given text: losses of replies, and scores of multiple-choice answers.

Serves the evaluator. Base and tuned are scored on identical batches from one load, since in bfloat16 the batching
alone moves the result (perplexity 23.193 to 23.210 on the same text, float32 23.1678 always). Imports torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor

from libs.lm.chat import ChatFormat, Encoded, Message
from libs.lm.generate import Loaded

CHUNK = 256
Losses = NDArray[np.float32]


class Choice(Struct, frozen=True):
    """A question as a conversation that ends with the user's turn, and the answers the model may give."""

    messages: list[Message]
    answers: list[str]


def token_losses(loaded: Loaded, encoded: Sequence[Encoded], *, tuned: bool, batch_tokens: int = 1024) -> list[Losses]:
    """Return for each conversation the loss (nats, float32) of its taught tokens, in order.

    Conversations are batched by length, at most ``batch_tokens`` tokens with padding a batch (a longer one alone), so
    the same ``encoded`` always gives the same batches. The vocabulary is projected at taught positions only. A first
    token has no loss: nothing precedes it.
    """
    found: list[Losses] = [np.zeros(0, np.float32)] * len(encoded)
    with loaded.tuned(tuned) as model:
        for part in batches([len(each.ids) for each in encoded], batch_tokens):
            for index, losses in zip(part, _batch(model, [encoded[index] for index in part]), strict=True):
                found[index] = losses
    return found


def choice_scores(loaded: Loaded, questions: Sequence[Choice], *, tuned: bool) -> list[Losses]:
    """Return for each question the mean log-likelihood a token of every answer; the largest is the model's choice.

    One forward pass a question: the answers follow the question side by side, each seeing the question and itself.
    """
    with loaded.tuned(tuned) as model:
        return [_choose(model, loaded.chat, each) for each in questions]


def batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group indices by falling length so that (longest × count) stays within ``batch_tokens``."""
    grouped: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda each: (-lengths[each], each)):
        if grouped and lengths[grouped[-1][0]] * (len(grouped[-1]) + 1) <= batch_tokens:
            grouped[-1].append(index)
        else:
            grouped.append([index])
    return grouped


def _batch(model: Any, encoded: list[Encoded]) -> list[Losses]:
    width = len(encoded[0].ids)
    ids = torch.tensor([each.ids + [0] * (width - len(each.ids)) for each in encoded], device=model.device)
    mask = torch.tensor([[1] * len(each.ids) + [0] * (width - len(each.ids)) for each in encoded], device=model.device)
    hidden = _hidden(model, input_ids=ids, attention_mask=mask)
    return [_losses(model, hidden[row], each) for row, each in enumerate(encoded)]


def _losses(model: Any, hidden: Tensor, encoded: Encoded) -> Losses:
    places = [at for at, taught in enumerate(encoded.trained) if taught and at > 0]
    labels = torch.tensor([encoded.ids[at] for at in places], dtype=torch.long, device=hidden.device)
    losses: Losses = -_logs(model, hidden[[at - 1 for at in places]], labels).cpu().numpy()
    return losses


def _logs(model: Any, hidden: Tensor, labels: Tensor) -> Tensor:
    """Return the log-likelihood of each label under the hidden state before it, shape (n,), float32."""
    head = model.get_output_embeddings().weight
    parts = [
        -functional.cross_entropy((hidden[at : at + CHUNK] @ head.T).float(), labels[at : at + CHUNK], reduction="none")
        for at in range(0, len(labels), CHUNK)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def _hidden(model: Any, **inputs: Tensor) -> Tensor:
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden: Tensor = causal.base_model(**inputs, use_cache=False).last_hidden_state
    return hidden


def _choose(model: Any, chat: ChatFormat, question: Choice) -> Losses:
    asked = chat.prompt(question.messages)
    answers = [chat.plain(each) for each in question.answers]
    spans = _spans(len(asked), answers)
    ids = asked + [token for each in answers for token in each]
    positions = list(range(len(asked))) + [len(asked) + at for each in answers for at in range(len(each))]
    hidden = _hidden(
        model,
        input_ids=torch.tensor([ids], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        attention_mask=_side_by_side(len(ids), len(asked), spans).to(model.device),
    )[0]
    scores = [_answer(model, hidden, len(asked), start, each) for (start, _), each in zip(spans, answers, strict=True)]
    return np.array(scores, np.float32)


def _answer(model: Any, hidden: Tensor, asked: int, start: int, answer: list[int]) -> float:
    before = [asked - 1, *range(start, start + len(answer) - 1)]
    labels = torch.tensor(answer, dtype=torch.long, device=hidden.device)
    return float(_logs(model, hidden[before], labels).mean())


def _spans(start: int, answers: list[list[int]]) -> list[tuple[int, int]]:
    spans = []
    for each in answers:
        spans.append((start, start + len(each)))
        start += len(each)
    return spans


def _side_by_side(size: int, asked: int, spans: list[tuple[int, int]]) -> Tensor:
    """Return the mask (1, 1, size, size), true where a row may look: causal, and no answer sees another."""
    seen = torch.ones(size, size, dtype=torch.bool).tril()
    for start, end in spans:
        seen[start:end, asked:start] = False
    return seen[None, None]
