"""What a model answers to multiple-choice questions: how likely it finds each answer.

Serves the evaluator's knowledge suite. What the questions begin with (a template's system message) is read once, the
answers of one question share it, and questions are batched; in float32 the scores are those of each answer read alone
after its question. An architecture that is not known (``families``) reads them so. Imports torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor
from transformers import DynamicCache

from libs.lm.chat import ChatFormat, Message
from libs.lm.generate import Loaded
from libs.lm.score import Losses, batches, hidden_states, known, logs, plain_logs

KeysAndValues = list[tuple[Tensor, Tensor]]
"""Of each layer, shape (1, heads, tokens, width)."""


class Choice(Struct, frozen=True):
    """A question as a conversation that ends with the user's turn, and the answers the model may give."""

    messages: list[Message]
    answers: list[str]


def choice_scores(
    loaded: Loaded, questions: Sequence[Choice], *, tuned: bool, batch_tokens: int = 1024
) -> list[Losses]:
    """Return for each question the mean log-likelihood a token of every answer; the largest is the model's choice.

    What all questions begin with is read once. Each question is one row: the answers follow it side by side, each
    seeing the question and itself. Rows are batched by length, at most ``batch_tokens`` with padding a batch, so the
    same questions always give the same batches.
    """
    rows = [_row(loaded.chat, each) for each in questions]
    shared = _shared([row.asked for row in rows])
    found: list[Losses] = [np.zeros(0, np.float32)] * len(rows)
    with loaded.tuned(tuned) as model:
        if not known(model, max((len(row.ids) for row in rows), default=0)):
            return [_plainly(model, row) for row in rows]
        beginning = _read(model, rows[0].ids[:shared]) if shared else []
        for part in batches([len(row.ids) - shared for row in rows], batch_tokens):
            for index, scores in zip(part, _choose(model, beginning, [rows[index] for index in part]), strict=True):
                found[index] = scores
    return found


class _Row(Struct, frozen=True):
    """A question's tokens with its answers' after them, each answer from ``start`` to ``end``."""

    asked: list[int]
    ids: list[int]
    spans: list[tuple[int, int]]

    @property
    def places(self) -> list[int]:
        """The position of each token: every answer follows the question."""
        asked = len(self.asked)
        return [*range(asked), *(asked + at for start, end in self.spans for at in range(end - start))]


def _row(chat: ChatFormat, question: Choice) -> _Row:
    asked = chat.prompt(question.messages)
    ids, spans = list(asked), []
    for each in question.answers:
        start = len(ids)
        ids += chat.plain(each)
        spans.append((start, len(ids)))
    return _Row(asked, ids, spans)


def _plainly(model: Any, row: _Row) -> Losses:
    """Read each answer alone after its question, as the model itself does."""
    answers = (row.ids[start:end] for start, end in row.spans)
    return np.array([float(plain_logs(model, row.asked + each, len(row.asked)).mean()) for each in answers], np.float32)


def _shared(prompts: list[list[int]]) -> int:
    """Count the tokens that several prompts all begin with, the last of the shortest left out: it is scored from."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    return next((at for at in range(most) if first[at] != last[at]), most)


def _read(model: Any, ids: list[int]) -> KeysAndValues:
    """Read the beginning of prompts; return its keys and values."""
    read = hidden_states(model, input_ids=torch.tensor([ids], device=model.device), use_cache=True)
    return [(layer.keys, layer.values) for layer in read.past_key_values.layers]


def _choose(model: Any, beginning: KeysAndValues, rows: list[_Row]) -> list[Losses]:
    shared = beginning[0][0].shape[2] if beginning else 0
    width = len(rows[0].ids) - shared
    hidden = hidden_states(
        model,
        input_ids=torch.tensor([_padded(row.ids[shared:], width) for row in rows], device=model.device),
        position_ids=torch.tensor([_padded(row.places[shared:], width) for row in rows], device=model.device),
        attention_mask=torch.stack([_side_by_side(width, shared, row) for row in rows])[:, None].to(model.device),
        past_key_values=_before(model, beginning, len(rows)),
        use_cache=shared > 0,
    ).last_hidden_state
    before = [(number, at - shared) for number, row in enumerate(rows) for at in _before_answers(row)]
    labels = [token for row in rows for start, end in row.spans for token in row.ids[start:end]]
    numbers, places = zip(*before, strict=True)
    found = logs(model, hidden[list(numbers), list(places)], torch.tensor(labels, device=hidden.device))
    means = iter(
        torch.stack([each.mean() for each in found.split([e - s for row in rows for s, e in row.spans])]).cpu()
    )
    return [np.array([next(means) for _ in row.spans], np.float32) for row in rows]


def _before(model: Any, beginning: KeysAndValues, count: int) -> DynamicCache | None:
    if not beginning:
        return None
    cache = DynamicCache(config=model.config)
    for number, (keys, values) in enumerate(beginning):
        cache.update(keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1), number)
    return cache


def _before_answers(row: _Row) -> list[int]:
    """Return for each token of the answers the place of the one before it: of a first one, the question's last."""
    return [at for start, end in row.spans for at in (len(row.asked) - 1, *range(start, end - 1))]


def _padded(ids: list[int], width: int) -> list[int]:
    return ids + [0] * (width - len(ids))


def _side_by_side(width: int, shared: int, row: _Row) -> Tensor:
    """Return the mask (width, shared + width), true where a token may look: causal, and no answer sees another."""
    seen = torch.ones(width, shared + width, dtype=torch.bool).tril(shared)
    for start, end in row.spans:
        seen[start - shared : end - shared, len(row.asked) : start] = False
    return seen
