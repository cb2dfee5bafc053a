"""How likely a model finds given text: the losses of replies.

Serves the evaluator. Base and tuned are scored on identical batches from one load, since in bfloat16 the batching
alone moves the result (perplexity 23.193 to 23.210 on the same text, float32 23.1678 always). Imports torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from libs.lm.chat import Encoded
from libs.lm.generate import Loaded

CHUNK = 256
Losses = NDArray[np.float32]


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


def batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group indices by falling length so that (longest × count) stays within ``batch_tokens``."""
    grouped: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda each: (-lengths[each], each)):
        if grouped and lengths[grouped[-1][0]] * (len(grouped[-1]) + 1) <= batch_tokens:
            grouped[-1].append(index)
        else:
            grouped.append([index])
    return grouped


def logs(model: Any, hidden: Tensor, labels: Tensor) -> Tensor:
    """Return the log-likelihood of each label under the hidden state before it, shape (n,), float32."""
    head = model.get_output_embeddings().weight
    parts = [
        -functional.cross_entropy((hidden[at : at + CHUNK] @ head.T).float(), labels[at : at + CHUNK], reduction="none")
        for at in range(0, len(labels), CHUNK)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def hidden_states(model: Any, **inputs: Any) -> Any:
    """Run a model without its head; return what its trunk returns."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal.base_model(**inputs)


def _batch(model: Any, encoded: list[Encoded]) -> list[Losses]:
    """Score one batch. Padding stands on the right, where no token of a causal model looks: it needs no mask."""
    width = len(encoded[0].ids)
    ids = torch.tensor([each.ids + [0] * (width - len(each.ids)) for each in encoded], device=model.device)
    hidden = hidden_states(model, input_ids=ids, use_cache=False).last_hidden_state
    return [_losses(model, hidden[row], each) for row, each in enumerate(encoded)]


def _losses(model: Any, hidden: Tensor, encoded: Encoded) -> Losses:
    places = [at for at, taught in enumerate(encoded.trained) if taught and at > 0]
    labels = torch.tensor([encoded.ids[at] for at in places], dtype=torch.long, device=hidden.device)
    losses: Losses = -logs(model, hidden[[at - 1 for at in places]], labels).cpu().numpy()
    return losses
