"""When a run has taken longer than it may, and what is left of its time.

The scheduler keeps limits by planning fewer steps (decision 5), so that a run's length does not depend on the day. Only
where its estimate was far off does the clock decide: a quarter above the limit training ends with what it has learned.
"""

TOLERANCE = 1.25
"""How far above its limit a run may go before the clock ends it: the interval of estimates that learned from runs."""
LEAST = 1.0
PATIENCE = 600.0
"""Seconds after that in which the last step, evaluation and saving must be over; then the process is ended."""


def seconds_left(limit: float, spent: float) -> float:
    """Return the device seconds an attempt may take; ``spent`` were taken by the attempts before. 0: no limit."""
    return max(LEAST, TOLERANCE * limit - spent) if limit else 0.0
