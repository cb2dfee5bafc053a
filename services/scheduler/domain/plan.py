"""A recipe that keeps its time limit and budget on a given device, and the estimate a person reads before it starts.

Stopping after a number of steps that is written in the recipe, not when a clock says so, keeps a
training reproducible: the same recipe gives the same adapter on a slow day too.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from contracts.jobs import Estimate
from contracts.recipes import Recipe
from libs.errors import Rejected
from services.scheduler.domain.estimate import TYPICAL, Calibration, Data, Device, Rate, estimate, steps_of

GIGABYTE = 1e9

PLANNED = 0.85
"""How much of a budget a plan spends: its figures are estimates, and the clock ends what was estimated too low."""


class Plan(Struct, frozen=True):
    """What will be trained and what that will take."""

    recipe: Recipe
    estimate: Estimate


def plan(
    recipe: Recipe, data: Data, device: Device, learned: Calibration, rate: Rate, budget: float | None = None
) -> Plan:
    """Lower ``max_steps`` where the likely time passes the limit, or what the budget pays for; the notes say so."""
    full = estimate(recipe, data, device, learned, rate)
    limit, paid = recipe.time_limit or math.inf, affordable(budget, learned, rate)
    shorter = within_limit(recipe, full, min(limit, paid))
    told = estimate(shorter, data, device, learned, rate)
    why = _out_of_time(recipe, full) if limit <= paid else _out_of_money(budget or 0.0, full)
    return Plan(shorter, replace(told, notes=_notes(shorter, full, told, data, device, learned, why)))


def affordable(budget: float | None, learned: Calibration, rate: Rate) -> float:
    """Return the seconds of training that a budget pays for besides the start; endless without one."""
    return max(0.0, rate.seconds(PLANNED * budget) - learned.start_up) if budget else math.inf


def too_dear(found: Plan, budget: float | None) -> Rejected | None:
    """Return why a budget pays for no training at all."""
    if budget is None or found.estimate.cost <= budget:
        return None
    money = found.estimate.currency
    return Rejected(
        f"The budget of {budget:g} {money} pays for no training: starting and a single step alone cost about "
        f"{found.estimate.cost:.4f} {money}.",
        code="budget_too_small",
        field="budget",
        fix="Give the job a larger budget; POST /v1/estimates says what all of it would cost.",
    )


def planned_again(recipe: Recipe, data: Data, device: Device, learned: Calibration, rate: Rate) -> Plan:
    """Estimate a run that has begun: its recipe stands, for another one would be another training."""
    return Plan(recipe, estimate(recipe, data, device, learned, rate))


def too_large(found: Plan, largest: int | None) -> Rejected | None:
    """Return why all weights cannot be trained on the ``largest`` device there ever was, in bytes of memory.

    A LoRA waits for a larger device instead: nothing smaller would be the same wish.
    """
    needed = found.estimate.memory_bytes
    if found.recipe.method != "full" or largest is None or needed <= largest:
        return None
    return Rejected(
        f"Training every weight of {found.recipe.base_model} needs about {needed / GIGABYTE:.1f} GB of memory, and the "
        f"largest device known here has {largest / GIGABYTE:.1f} GB.",
        code="too_large",
        field="training",
        fix="Train a LoRA (the method lora), which needs a fraction of it, choose a smaller base model, or connect a "
        "larger machine first.",
    )


def not_quantised(recipe: Recipe, features: set[str] | None) -> Rejected | None:
    """Return why the base cannot be kept in few bits on any device there ever was, which understand ``features``.

    What runners are too old for otherwise waits for newer ones: nothing else would be the same wish.
    """
    if recipe.quantization == "none" or features is None or recipe.quantization in features:
        return None
    return Rejected(
        f"No device known here can keep the base model in four bits ({recipe.quantization}) while it trains: that "
        "takes a runner with bitsandbytes that trains in one process.",
        code="unsupported_quantization",
        field="quantization",
        fix="Leave quantization out, so that the base stays in its usual format, or connect a machine that can first.",
    )


def within_limit(recipe: Recipe, full: Estimate, seconds: float) -> Recipe:
    """Return the recipe, ended after as many steps as fit into so many seconds, but at least one."""
    if full.seconds <= seconds:
        return recipe
    return replace(recipe, max_steps=max(1, int(full.steps * seconds / full.seconds)))


def spoken(seconds: float) -> str:
    """Say a duration as a person would: ``40 seconds``, ``11 minutes``, ``3.5 hours``."""
    if seconds < 90:
        return _counted(round(seconds), "second")
    if seconds < 90 * 60:
        return _counted(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"


def _notes(
    recipe: Recipe, full: Estimate, told: Estimate, data: Data, device: Device, learned: Calibration, why: str
) -> tuple[str, ...]:
    notes = []
    if recipe.max_steps:
        notes.append(why.format(_shortened(recipe, full, told, data)))
    if device is TYPICAL:
        notes.append("No device has reported its speed yet: these figures are for a typical two-core machine.")
    elif not learned.runs:
        notes.append("Nothing was trained on this kind of device yet: these figures become closer with the first run.")
    if device is not TYPICAL and (missing := set(recipe.needs) - set(device.features)):
        notes.append(
            f"The runners known here are too old for {', '.join(sorted(missing))}: the job waits until a newer one is "
            "there."
        )
    if told.memory_bytes > device.memory_bytes:
        notes.append(_too_large(told, device))
    return tuple(notes)


def _shortened(recipe: Recipe, full: Estimate, told: Estimate, data: Data) -> str:
    passes = recipe.max_steps / steps_of(replace(recipe, epochs=1, max_steps=0), data)
    seen = f"{passes:.0%} of one pass" if passes < 1 else f"{passes:.1f} of {recipe.epochs} passes"
    return f"{seen} over your data, {told.steps} of {full.steps} steps."


def _out_of_time(recipe: Recipe, full: Estimate) -> str:
    """Return the sentence, with a place for what is trained nevertheless."""
    return (
        f"Your data would need about {spoken(full.seconds)}; this job stops after {spoken(recipe.time_limit)}: {{}} "
        "A longer time limit trains on more of it."
    )


def _out_of_money(budget: float, full: Estimate) -> str:
    return (
        f"All your data would cost about {full.cost:.3g} {full.currency}; this job stops before {budget:g} are spent: "
        "{} A larger budget trains on more of it."
    )


def _too_large(told: Estimate, device: Device) -> str:
    return (
        f"This needs about {told.memory_bytes / GIGABYTE:.1f} GB of memory and the device has "
        f"{device.memory_bytes / GIGABYTE:.1f} GB: the job will wait until a larger device is offered. "
        "A smaller rank or base model needs less, and so does a base in four bits (quantization nf4)."
    )


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
