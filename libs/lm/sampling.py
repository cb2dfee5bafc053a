"""Which token comes next, and how likely it was: one row of logits in, whichever engine computed it. No torch."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
"""A model's scores of what comes next, shape (vocabulary,)."""


def drawn(logits: Logits, *, temperature: float, top_p: float, chance: np.random.Generator) -> int:
    """Choose a token: the likeliest at ``temperature`` 0, else by chance.

    ``top_p`` leaves the likeliest tokens that together reach that probability, one at least (nucleus sampling,
    Holtzman et al. 2020).
    """
    if temperature == 0:
        return int(logits.argmax())
    likely = np.exp(_logs(logits / temperature))
    if top_p < 1:
        order = np.argsort(-likely, kind="stable")
        reached = likely[order].cumsum()
        likely[order[1:][reached[:-1] >= top_p]] = 0.0
    reached = likely.cumsum()
    return int(np.searchsorted(reached, chance.random() * reached[-1], side="right"))


def likelihoods(logits: Logits, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """Return the natural log-probability of a token, and the ``top`` likeliest with theirs, the likeliest first."""
    logs = _logs(logits)
    first = np.argpartition(-logs, top)[:top] if top else np.empty(0, int)
    best = sorted(((int(each), float(logs[each])) for each in first), key=lambda each: (-each[1], each[0]))
    return float(logs[token]), best


def _logs(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return log-probabilities (log-softmax)."""
    scores: NDArray[np.float64] = logits.astype(np.float64) - float(logits.max())
    scores -= np.log(np.exp(scores).sum())
    return scores
