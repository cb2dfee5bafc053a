"""What a person should hear of while training goes on: a loss that jumps, one that does not fall, time that ran out.

An alert is a remark, never an end: whether a curve is good is judged by the proof afterwards. No torch here.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, median, variance
from typing import Any

from services.trainer.training.metrics import Point
from services.trainer.training.protocol import Remarked

WINDOW = 20
SEEN_BEFORE = 10
SPIKE = 6.0
LEAST_JUMP = 1.5
"""A spike is a loss this many robust standard deviations (1.4826 × the median absolute deviation) above the median of
the steps before it, and at least half as much again: small batches scatter."""
MAD_TO_SIGMA = 1.4826
LITTLE = 0.03
ONE_IN_TWENTY = 1.645
LEAST_STEPS = 40
"""From this many steps on it is asked, once and half-way, whether the loss fell by three hundredths at all. Where steps
scatter too much to tell, nothing is said."""


class Alerts:
    """Looks at the losses after each step; says little, and the same thing only once in a while."""

    def __init__(self, total_steps: int) -> None:
        """Take how many steps there will be."""
        self._total = total_steps
        self._quiet_until = 0

    def after(self, points: Sequence[Point]) -> Iterator[Remarked]:
        """Yield what the newest step gives reason for; ``points`` are of all steps so far."""
        step = points[-1].step
        recent = [each.train_loss for each in points[-1 - WINDOW :]]
        if step > self._quiet_until and is_spike(recent):
            self._quiet_until = step + WINDOW
            yield _remark(step, "loss_spike", _jumped(step, recent))
        if step == max(LEAST_STEPS, self._total // 2) and is_flat(losses := [each.train_loss for each in points]):
            yield _remark(step, "not_converging", _flat(step, losses))


def is_spike(losses: Sequence[float]) -> bool:
    """Whether the newest loss stands far above those before it."""
    before, newest = losses[:-1], losses[-1]
    if len(before) < SEEN_BEFORE:
        return False
    middle = median(before)
    sigma = MAD_TO_SIGMA * median(abs(each - middle) for each in before)
    return newest > max(middle + SPIKE * sigma, LEAST_JUMP * middle)


def is_flat(losses: Sequence[float]) -> bool:
    """Whether the loss surely (19 in 20) fell by less than ``LITTLE`` from the first third to the last."""
    third = len(losses) // 3
    first, last = losses[:third], losses[-third:]
    fell = fmean(first) - fmean(last)
    error = math.sqrt((variance(first) + variance(last)) / third)
    return fell + ONE_IN_TWENTY * error < LITTLE * fmean(first)


ENDED = {
    "time_limit": ("time_limit", "its time limit has passed", "a longer time limit"),
    "budget": ("budget_100", "its budget is spent but for what saving takes", "a larger budget"),
}
"""Why the clock ends training: the remark's code, the reason, and what trains on the rest."""


def ended_early(step: int, total: int, limit: str) -> Remarked:
    """Say that the clock ended training."""
    code, why, more = ENDED[limit]
    message = (
        f"Training ended at step {step} of {total}, because {why}. The model keeps what it learned until then; {more} "
        "trains on the rest."
    )
    return _remark(step, code, message)


def short_of_memory(step: int, metrics: dict[str, Any]) -> Remarked | None:
    """Say that an evaluation had to be smaller, or to be left out."""
    if "eval_loss" not in metrics:
        message = "Memory ran out while the validation loss was measured, so it was left out. Training goes on."
        return _remark(step, "evaluation_skipped", message)
    if smaller := metrics.get("eval_smaller"):
        message = f"Memory ran out while the validation loss was measured; now it is read {smaller} tokens at a time."
        return Remarked(step=step, code="evaluation_smaller", level="info", message=message)
    return None


def _remark(step: int, code: str, message: str) -> Remarked:
    return Remarked(step=step, code=code, level="warn", message=message)


def _jumped(step: int, recent: Sequence[float]) -> str:
    return (
        f"The loss jumped from about {median(recent[:-1]):.2f} to {recent[-1]:.2f} at step {step}. One jump often "
        "passes by itself; if they come again, a smaller learning rate helps."
    )


def _flat(step: int, losses: Sequence[float]) -> str:
    return (
        f"After {step} steps the loss is {fmean(losses[-step // 3 :]):.2f}, where it began: the model hardly learns. "
        "A larger learning rate or rank may help, or look at the data with the preview."
    )
