"""How often to save, from what a save costs and what an interruption would; and how many checkpoints to keep.

What a save costs is counted in seconds of training: those it stands still while its state is copied, and all processor
seconds of the thread that writes beside it, which training may have to do without.
"""

import math

from msgspec import Struct

from contracts.jobs import Estimate
from contracts.recipes import Recipe
from libs.lm.models import known

USUAL_STEPS = 100
SHARE = 0.01
LONGEST = 0.25
"""An interruption repeats half of what lies between two saves: at most an eighth of the time until the next one."""
SECONDS_A_BYTE = 3.1e-9
SAVED_BYTES = 12
"""What a save is expected to cost before one was measured: 0.18 s for 59 MB, 5.0 s for 1,614 MB, on two busy cores. It
holds weight and two moments of each parameter that is trained."""
TRIFLE = 0.5
"""Seconds of a save that a short run, too, can spare: it makes one at each third of its way."""
KEEP = 2


class Rule(Struct, frozen=True, kw_only=True):
    """What saving may cost: a ``share`` of training; but never more than ``longest`` seconds lie between two saves."""

    share: float
    longest: float


def rule_for(mean_seconds_between_losses: float, share: float = SHARE) -> Rule:
    """Return the rule where hardware vanishes this often."""
    return Rule(share=share, longest=LONGEST * mean_seconds_between_losses)


def expected_cost(recipe: Recipe) -> float:
    """Return what a save of this training should cost, in seconds; ``UnknownModel`` where nobody knows its size."""
    model = known(recipe.base_model)
    trained = model.parameters if recipe.method == "full" else model.lora_parameters(recipe.rank)
    return trained * SAVED_BYTES * SECONDS_A_BYTE


def interval(estimate: Estimate, mean_seconds_between_losses: float, cost: float, share: float = SHARE) -> int:
    """Return the optimiser steps between checkpoints: 100, or fewer where a loss would cost more than saving.

    The optimum is √(2 · cost of a save · mean time between losses) seconds (Young, 1974,
    doi:10.1145/361147.361115), and there is one in the middle of a short run; unless saving so often took more than its
    share of training.
    """
    seconds_a_step = max(estimate.seconds / max(estimate.steps, 1), 1e-3)
    best = math.sqrt(2 * cost * mean_seconds_between_losses) / seconds_a_step
    usual = max(1, min(USUAL_STEPS, round(best), estimate.steps // 3))
    return affordable(usual, estimate.steps, cost, seconds_a_step, rule_for(mean_seconds_between_losses, share))


def affordable(every: int, steps: int, cost: float, seconds_a_step: float, rule: Rule) -> int:
    """Return the steps between the checkpoints of a run of ``steps``: ``every``, or as many more as keep saving within
    its share; where a save is a trifle, no more than a third of the run.
    """
    cheap = math.ceil(cost / (rule.share * seconds_a_step))
    most = steps // 3 if cost < TRIFLE else cheap
    return max(every, min(cheap, most, int(rule.longest / seconds_a_step)))


class Rhythm:
    """When the next checkpoint of a run is due, by what its own steps and saves turned out to take."""

    def __init__(self, every: int, steps: int, begun_at: int, rule: Rule | None) -> None:
        """Take the planned interval, the run's steps and the one it begins at; without a rule the plan stands."""
        self._every = every
        self._steps = steps
        self._rule = rule
        self._saved_at = begun_at // every * every

    def due(self, step: int, cost: float, seconds_a_step: float) -> bool:
        """Whether to save after this step; ``cost`` is the mean of the saves so far, 0 before the first."""
        every = self._every
        if self._rule:
            every = affordable(every, self._steps, cost, seconds_a_step, self._rule)
        return step - self._saved_at >= every

    def saved(self, step: int) -> None:
        """A checkpoint is being made of this step."""
        self._saved_at = step
