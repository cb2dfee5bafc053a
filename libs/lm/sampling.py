"""Which token comes next, and how likely it was. Imports torch: only for worker processes."""

import torch
from torch import Tensor


def drawn(logits: Tensor, *, temperature: float, top_p: float, chance: torch.Generator) -> int:
    """Choose a token from one row of logits (vocabulary,): the likeliest at ``temperature`` 0, else by chance.

    ``top_p`` leaves the likeliest tokens that together reach that probability, one at least (nucleus sampling,
    Holtzman et al. 2020).
    """
    if temperature == 0:
        return int(logits.argmax())
    likely, order = (logits.float() / temperature).softmax(-1).sort(descending=True)
    kept = likely.cumsum(-1) - likely < top_p
    kept[0] = True
    return int(order[torch.multinomial(likely * kept, 1, generator=chance)])


def likelihoods(logits: Tensor, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """Return the natural log-probability of a token, and the ``top`` likeliest with theirs, the likeliest first."""
    logs = logits.float().log_softmax(-1)
    values, tokens = logs.topk(top)
    return float(logs[token]), list(zip(map(int, tokens), map(float, values), strict=True))
