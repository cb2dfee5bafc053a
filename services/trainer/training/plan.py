"""How long a run is and when it saves and evaluates, from the recipe and the number of examples alone.

The scheduler's estimate and the child agree because both count with ``steps_of``. No torch here.
"""

import math

from msgspec import Struct

from contracts.recipes import Recipe
from services.trainer.domain.saving import Rule
from services.trainer.training.hardware import Dtype


class Plan(Struct, frozen=True, kw_only=True):
    """The numbers of one attempt. Steps are optimiser steps; ``steps_an_epoch`` is one pass over the data.

    Unless ``packed`` each example is a row of its own, whatever ``micro_tokens`` says.
    """

    total_steps: int
    steps_an_epoch: int
    warmup_steps: int
    checkpoint_every: int
    micro_tokens: int
    threads: int
    dtype: Dtype
    device: str
    packed: bool = True
    workers: int = 0
    saving: Rule | None = None

    @property
    def row_tokens(self) -> int:
        """How many tokens of whole examples share a row."""
        return self.micro_tokens if self.packed else 1

    def evaluates_at(self, step: int) -> bool:
        """Whether the validation loss is due: after every pass over the data, and at the end."""
        return step % self.steps_an_epoch == 0 or step == self.total_steps


def steps_of(recipe: Recipe, examples: int) -> int:
    """Return the optimiser steps of a whole run; ``recipe.max_steps`` caps them."""
    steps = recipe.epochs * steps_an_epoch(recipe, examples)
    return min(steps, recipe.max_steps) if recipe.max_steps else steps


def steps_an_epoch(recipe: Recipe, examples: int) -> int:
    """Return the optimiser steps of one pass; the last holds what is left over."""
    return math.ceil(examples / recipe.batch_size)


def warmup_of(recipe: Recipe, total_steps: int) -> int:
    """Return over how many steps the learning rate rises."""
    return math.ceil(recipe.warmup_ratio * total_steps)
