"""The way for architectures we know nothing of: the model's own forward, one conversation at a time, as TRL does it.

Whatever its head does to the logits, and whatever its own loss adds, is part of it. Nothing is packed, so nothing can
leak; every position's logits are computed, so it is slower.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from services.trainer.training.data import Row
from services.trainer.training.loss import sent


def row_loss(model: Any, row: Row) -> tuple[Tensor, Tensor]:
    """Return the summed loss of a row's taught tokens by the model's own reckoning, and how many were guessed right."""
    scored = [(said.loss * len(taught), _right(said, at, taught)) for said, at, taught in _each(model, row)]
    return torch.stack([loss for loss, _ in scored]).sum(), torch.stack([right for _, right in scored]).sum()


def replies(model: Any, row: Row) -> tuple[Tensor, Tensor]:
    """Return the log-likelihood of every reply of a row, and the right guesses."""
    sums, right = [], []
    for said, at, taught in _each(model, row):
        logs = torch.log_softmax(said.logits[0, at].float(), -1)
        sums.append(logs.gather(1, taught[:, None]).sum())
        right.append(_right(said, at, taught))
    return torch.stack(sums), torch.stack(right).sum()


def _each(model: Any, row: Row) -> Iterator[tuple[Any, Tensor, Tensor]]:
    """Yield what the model says of each conversation that teaches something, from where it guesses, and what is right.

    ``forward`` is called by its name: the hooks of a sharded model have run around ``row_loss`` already.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    for part in row.conversations:
        taught = [at for at, label in enumerate(row.labels[part][1:]) if label != -100]
        if taught:
            ids, labels, at = sent(causal.device, row.ids[part], row.labels[part], taught)
            ids, labels = ids[None], labels[None]
            said = causal.forward(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, use_cache=False)
            yield said, at, labels[0, 1:][at]


def _right(said: Any, at: Tensor, taught: Tensor) -> Tensor:
    return (said.logits[0, at].argmax(-1) == taught).sum()
