"""How likely a model finds given text: the losses of replies.

Serves the evaluator. Base and tuned are scored on identical batches from one load, since in bfloat16 the batching
alone moves the result (perplexity 23.193 to 23.210 on the same text, float32 23.1678 always). An architecture that is
not known (``families``) reads through its own forward, one conversation at a time. Imports torch.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from libs.lm import families
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
    lengths = [len(each.ids) for each in encoded]
    with loaded.tuned(tuned) as model:
        together = known(model, max(lengths, default=0))
        for part in batches(lengths, batch_tokens if together else 1):
            these = [encoded[index] for index in part]
            for index, losses in zip(part, (_batch if together else _alone)(model, these), strict=True):
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


def known(model: Any, longest: int) -> bool:
    """Tell whether texts of up to ``longest`` tokens may be read together, and without the model's own head."""
    causal = _causal(model)
    return families.known(type(causal).__name__, causal.config.to_dict(), longest)


def room(model: Any, asked: int) -> int:
    """Return how many tokens of a conversation a model can take, up to what is asked."""
    causal = _causal(model)
    return families.room(type(causal).__name__, causal.config.to_dict(), asked)


def logs(model: Any, hidden: Tensor, labels: Tensor) -> Tensor:
    """Return the log-likelihood of each label under a known model's hidden state before it, shape (n,), float32."""
    head = model.get_output_embeddings().weight
    return _likely(lambda at: hidden[at : at + CHUNK] @ head.T, labels)


def plain_logs(model: Any, ids: list[int], start: int) -> Tensor:
    """Return the log-likelihood of each token from ``start`` on, by the model's own forward, whatever that does.

    Shape (n,), float32. Where transformers lets it, the head sees no place before.
    """
    causal, labels = _causal(model), torch.tensor(ids[start:], device=model.device)
    some = "logits_to_keep" in inspect.signature(causal.forward).parameters
    keep = {"logits_to_keep": len(labels) + 1} if some else {}
    said = causal(input_ids=torch.tensor([ids], device=model.device), use_cache=False, **keep)
    logits = said.logits[0, -len(labels) - 1 :]
    return _likely(lambda at: logits[at : min(at + CHUNK, len(labels))], labels)


def hidden_states(model: Any, **inputs: Any) -> Any:
    """Run a model without its head; return what its trunk returns."""
    return _causal(model).base_model(**inputs)


def _likely(logits: Callable[[int], Tensor], labels: Tensor) -> Tensor:
    """Return each label's log-likelihood, shape (n,); ``logits`` gives the next ``CHUNK`` rows at most."""
    parts = [
        -functional.cross_entropy(logits(at).float(), labels[at : at + CHUNK], reduction="none")
        for at in range(0, len(labels), CHUNK)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, device=labels.device)


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _batch(model: Any, encoded: list[Encoded]) -> list[Losses]:
    """Score one batch. Padding stands on the right, where no token of a causal model looks: it needs no mask."""
    width = len(encoded[0].ids)
    ids = torch.tensor([each.ids + [0] * (width - len(each.ids)) for each in encoded], device=model.device)
    hidden = hidden_states(model, input_ids=ids, use_cache=False).last_hidden_state
    return [_losses(model, hidden[row], each) for row, each in enumerate(encoded)]


def _alone(model: Any, encoded: list[Encoded]) -> list[Losses]:
    """Score one conversation as the model itself reads it."""
    (each,) = encoded
    places = _places(each)
    if not places:
        return [np.zeros(0, np.float32)]
    losses: Losses = -plain_logs(model, each.ids, places[0])[[at - places[0] for at in places]].cpu().numpy()
    return [losses]


def _losses(model: Any, hidden: Tensor, encoded: Encoded) -> Losses:
    places = _places(encoded)
    labels = torch.tensor([encoded.ids[at] for at in places], dtype=torch.long, device=hidden.device)
    losses: Losses = -logs(model, hidden[[at - 1 for at in places]], labels).cpu().numpy()
    return losses


def _places(encoded: Encoded) -> list[int]:
    """Return where the taught tokens stand that have one before them."""
    return [at for at, taught in enumerate(encoded.trained) if taught and at > 0]
