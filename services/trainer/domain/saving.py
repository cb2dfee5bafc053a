"""How often to save, and how many checkpoints to keep."""

import math

from contracts.jobs import Estimate

USUAL_STEPS = 100
SAVE_SECONDS = 0.3
KEEP = 2


def interval(estimate: Estimate, mean_seconds_between_losses: float) -> int:
    """Return the optimiser steps between checkpoints: 100, or fewer where a loss would cost more than saving.

    The optimum is √(2 · cost of a save · mean time between losses) seconds (Young, 1974,
    doi:10.1145/361147.361115); there is always one in the middle of a run.
    """
    seconds_per_step = max(estimate.seconds / max(estimate.steps, 1), 1e-3)
    best = math.sqrt(2 * SAVE_SECONDS * mean_seconds_between_losses) / seconds_per_step
    return max(1, min(USUAL_STEPS, round(best), max(1, estimate.steps // 3)))
