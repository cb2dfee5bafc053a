"""From a preset, what a person changed of it and the size of the data to a complete recipe.

What can never be trained is refused with the field at fault and a value that would do. What
nobody chose is chosen here, by rule, so that the same wish and data always give the same recipe.
"""

import math
from typing import NamedTuple

import msgspec

from contracts.jobs import EstimateJob, JobSubmitted, Overrides
from contracts.recipes import (
    DPO_BETA,
    METHODS,
    OBJECTIVES,
    PAIR_FORMATS,
    PRESETS,
    QUANTIZATIONS,
    Preset,
    Recipe,
    preset_named,
)
from libs.errors import Rejected
from libs.lm.models import UnknownModel, known
from services.scheduler.domain.queue import PRIORITIES

STEPS_WANTED_PER_EPOCH = 32
LARGEST_BATCH = 16
LONGEST_EXAMPLE = 2048
DEFAULT_SEED = 42


DROPOUT = {"supervised": 0.05, "dpo": 0.0}
"""Pairs are compared with what the base model makes of them, which noise in one of the two would blur."""


class Range(NamedTuple):
    """What an override may be, both ends included."""

    low: float
    high: float
    unit: str = ""


RANGES: dict[str, Range] = {
    "epochs": Range(1, 50),
    "batch_size": Range(1, 256, " examples"),
    "learning_rate": Range(1e-6, 1e-2),
    "learning_rate_multiplier": Range(0.01, 100),
    "rank": Range(1, 256),
    "time_limit": Range(10, 86_400, " seconds"),
    "max_length": Range(16, 131_072, " tokens"),
    "budget": Range(0.000001, 1_000_000),
    "beta": Range(math.ulp(0.0), 2),
}


def wished(wish: JobSubmitted | EstimateJob) -> Recipe:
    """Return the recipe a wish names, its batch size still open; ``Rejected`` names the field and the fix."""
    preset = _preset(wish.preset)
    _check_ranges(wish.overrides)
    rank = wish.overrides.rank or preset.rank
    objective = _objective(wish.overrides)
    return Recipe(
        base_model=wish.base_model,
        method=_method(wish.overrides),
        rank=rank,
        alpha=2 * rank,
        dropout=DROPOUT[objective],
        learning_rate=_learning_rate(preset, wish.overrides),
        epochs=wish.overrides.epochs or preset.epochs,
        max_length=min(wish.overrides.max_length or LONGEST_EXAMPLE, _context(wish.base_model)),
        seed=wish.seed if isinstance(wish, JobSubmitted) else DEFAULT_SEED,
        time_limit=wish.overrides.time_limit or preset.time_limit,
        objective=objective,
        beta=wish.overrides.beta or DPO_BETA,
        quantization=_quantization(wish.overrides),
    )


def for_data(recipe: Recipe, overrides: Overrides, train_examples: int) -> Recipe:
    """Complete a recipe with the batch size that was asked for, or the one that suits the data."""
    return msgspec.structs.replace(recipe, batch_size=overrides.batch_size or suitable_batch(train_examples))


def suitable_batch(train_examples: int) -> int:
    """Choose the examples to an optimiser step: 16, but fewer where that would leave under 32 steps an epoch.

    Few large steps over little data hardly move a fresh LoRA (its learning rate decays before it
    has learned); more, smaller ones do. From 512 examples on it is 16 and the same for everybody.
    """
    return min(LARGEST_BATCH, max(1, train_examples // STEPS_WANTED_PER_EPOCH))


def refusal_of(wish: JobSubmitted) -> Rejected | None:
    """Return why a wish can never be trained, or ``None``."""
    try:
        wished(wish)
        _check_priority(wish.priority)
    except Rejected as refusal:
        return refusal
    return None


def _preset(name: str) -> Preset:
    preset = preset_named(name)
    if preset is None:
        names = ", ".join(f"{each.name} (or {each.staff_name})" for each in PRESETS)
        raise Rejected(
            f"There is no preset {name!r}, so there is no recipe to train with.",
            code="unknown_preset",
            field="preset",
            fix=f"Choose one of: {names}.",
        )
    return preset


def _context(base_model: str) -> int:
    try:
        return known(base_model).context
    except UnknownModel as error:
        raise Rejected(
            str(error), code="unknown_model", field="base_model", fix="Submit the job with a base model that is listed."
        ) from error


def _method(overrides: Overrides) -> str:
    method = overrides.method or METHODS[0]
    if method not in METHODS:
        raise Rejected(
            f"There is no method {method!r} to train with.",
            code="unknown_method",
            field="method",
            fix=f"Choose one of: {', '.join(METHODS)}.",
        )
    return method


def _objective(overrides: Overrides) -> str:
    """Return what teaches the model; ``Rejected`` for settings that do not go with it."""
    objective = overrides.objective or OBJECTIVES[0]
    if objective not in OBJECTIVES:
        raise Rejected(
            f"There is no objective {objective!r} to train for.",
            code="unknown_method",
            field="method.type",
            fix=f"Choose one of: {', '.join(OBJECTIVES)}.",
        )
    if objective == "dpo" and overrides.method == "full":
        raise Rejected(
            "Preference pairs train a LoRA only: the base model beside it says what the tuned one is compared with.",
            code="unsupported_method",
            field="training",
            fix="Leave training out.",
        )
    if objective != "dpo" and overrides.beta is not None:
        raise Rejected(
            "beta is set though the method is not dpo, the only one that has it.",
            code="contradiction",
            field="beta",
            fix="Leave beta out, or choose the method dpo.",
        )
    return objective


def _quantization(overrides: Overrides) -> str:
    """Return how the base stands in memory; ``Rejected`` where it is to be trained itself."""
    quantization = overrides.quantization or QUANTIZATIONS[0]
    if quantization not in QUANTIZATIONS:
        raise Rejected(
            f"There is no quantization {quantization!r} to train with.",
            code="unknown_quantization",
            field="quantization",
            fix=f"Choose one of: {', '.join(QUANTIZATIONS)}.",
        )
    if quantization != "none" and overrides.method == "full":
        raise Rejected(
            "Weights in four bits cannot be trained themselves, only a LoRA beside them.",
            code="contradiction",
            field="quantization",
            fix="Leave quantization out, or train a LoRA (leave training out).",
        )
    return quantization


def wrong_kind(recipe: Recipe, format: str) -> Rejected | None:
    """Return why a recipe cannot learn from a dataset of this format, with the method that can, or ``None``."""
    pairs = format in PAIR_FORMATS
    if pairs == (recipe.objective == "dpo"):
        return None
    if pairs:
        return Rejected(
            "The file holds preference pairs, and the method supervised learns from conversations.",
            code="wrong_method",
            field="method.type",
            fix="Submit it with the method dpo (method.type=dpo, or `woodshed train FILE --method dpo`).",
        )
    return Rejected(
        "The file holds conversations, and the method dpo learns from preference pairs.",
        code="wrong_method",
        field="method.type",
        fix="Submit it with the method supervised (leave method out), or upload pairs of replies.",
    )


def _check_ranges(overrides: Overrides) -> None:
    for name, (low, high, unit) in RANGES.items():
        value = getattr(overrides, name)
        if value is not None and not low <= value <= high:
            raise Rejected(
                f"{name} is {value:g}, outside what can be trained.",
                code="out_of_range",
                field=name,
                fix=f"Choose {name} between {low:g} and {high:g}{unit}, or leave it out.",
            )


def _learning_rate(preset: Preset, overrides: Overrides) -> float:
    """Return the rate asked for, or the preset's times the multiplier, which must end within the same range."""
    if overrides.learning_rate is not None and overrides.learning_rate_multiplier is not None:
        raise Rejected(
            "learning_rate and learning_rate_multiplier contradict each other: both set the learning rate.",
            code="contradiction",
            field="learning_rate",
            fix="Send one of the two.",
        )
    usual = preset.rate_for(overrides.method, overrides.objective)
    rate = overrides.learning_rate or usual * (overrides.learning_rate_multiplier or 1.0)
    low, high, _ = RANGES["learning_rate"]
    if not low <= rate <= high:
        raise Rejected(
            f"learning_rate_multiplier {overrides.learning_rate_multiplier:g} makes the learning rate {rate:g}, "
            "outside what can be trained.",
            code="out_of_range",
            field="learning_rate_multiplier",
            fix=f"Choose a multiplier between {low / usual:g} and {high / usual:g}.",
        )
    return rate


def _check_priority(name: str) -> None:
    if name not in PRIORITIES:
        raise Rejected(
            f"There is no priority {name!r}.",
            code="unknown_priority",
            field="priority",
            fix=f"Choose one of: {', '.join(PRIORITIES)}.",
        )
