"""What a job's budget still pays for, and when to tell somebody that it goes.

The scheduler plans fewer steps than the budget pays for (``services/scheduler/domain/plan``), so that a run's length
does not depend on the day. Where its estimate was too low, or a rented machine is dearer than the rate it was made
with, the clock decides: training ends with what it has learned while there is enough left to save the model.
"""

import math

from services.trainer.domain.time_limit import LEAST

TRAINED = 0.95
"""How much of a budget training may spend; the rest is for saving and storing what it made."""
THRESHOLDS = (50, 80, 100)
"""Hundredths of a budget that are told, each once."""
CODES = tuple(f"budget_{percent}" for percent in THRESHOLDS)


def seconds_paid(budget: float, spent: float, per_hour: float) -> float:
    """Return how long an attempt may train on a device of this price; 0: no budget bounds it."""
    if not budget or not per_hour:
        return 0.0
    return max(LEAST, (TRAINED * budget - spent) / per_hour * 3600)


def tighter(time: float, money: float) -> tuple[float, str]:
    """Return the smaller of two limits in seconds, of which 0 is none, and which it is."""
    return (money, "budget") if money and money < (time or math.inf) else (time, "time_limit")


def reached(budget: float, spent: float) -> list[str]:
    """Return what is to be told of the thresholds that are passed, as facts call them."""
    passed = zip(THRESHOLDS, CODES, strict=True)
    return [code for percent, code in passed if budget and spent >= budget * percent / 100]


def sentence(budget: float, spent: float, step: int, total: int) -> str:
    """Say what is spent, and what the whole will cost at this pace."""
    said = f"{spent:.4g} of {budget:.4g} are spent at step {step} of {total}."
    if not 0 < step < total:
        return said
    return f"{said} At this pace all steps cost {spent * total / step:.4g}; training ends before the budget is spent."
