"""Which examples train, which validate and which prove: decided by seed and content alone.

Examples are divided in units that are never torn apart: a conversation, a lesson or a
speaker. Units stand in the order of a hash of their name and the seed, so neither memory
nor the order of the file decides. Test is filled first, then validation.
"""

import hashlib
from collections.abc import Iterable, Iterator

from msgspec import Struct

from contracts.datasets import SplitPlan
from libs.errors import Rejected

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

ENOUGH = 10
"""From so many examples on, a split that was asked for gets at least one."""

ENOUGH_LESSONS = 10
"""From so many lessons on a lesson is never torn apart; with fewer, its conversations are divided singly."""


class Sizes(Struct, frozen=True):
    """How many examples validation and test are to have."""

    validation: int
    test: int


def sort_key(seed: int, unit: str) -> bytes:
    """Return the place of a unit in the order of division: 8 bytes of BLAKE2b."""
    return hashlib.blake2b(f"{seed}/{unit}".encode(), digest_size=8).digest()


def check(plan: SplitPlan) -> None:
    """Raise ``Rejected`` (``bad_split``) for a plan that no data can follow."""
    if plan.by not in ("conversation", "speaker"):
        raise Rejected("A split is by conversation or by speaker. Choose one of them.", code="bad_split", field="by")
    if plan.near_duplicates not in ("drop", "keep"):
        raise Rejected("Near duplicates are dropped or kept. Choose drop or keep.", code="bad_split", field="split")
    if plan.validation + plan.test >= 1:
        fix = "Lower the shares: 0.1 and 0.1 leave 80 % to train."
        raise Rejected(f"Validation and test together leave nothing to train. {fix}", code="bad_split", fix=fix)


def sizes(examples: int, plan: SplitPlan) -> Sizes:
    """Return the sizes to aim at; ``Rejected`` (``empty_split``) when a split that is wanted would be empty."""
    return Sizes(_target(examples, plan.validation, VALIDATION), _target(examples, plan.test, TEST))


def proof_of(examples: int, plan: SplitPlan) -> Sizes:
    """Return how much of a validation file of its own is test, in the plan's proportion; the rest validates."""
    share = plan.test / (plan.validation + plan.test) if plan.test else 0.0
    test = _target(examples, share, TEST)
    if test == examples:
        raise _empty(VALIDATION, examples)
    return Sizes(0, test)


def divide(units: Iterable[tuple[str, int]], aim: Sizes, rest: str = TRAIN) -> Iterator[tuple[str, int, str]]:
    """Yield name, examples and split of each unit, for units (name, examples) in the order of ``sort_key``.

    A unit goes into a split as long as at least half of it still fits, so single
    conversations fill the sizes exactly and large units come as near as the order allows.
    """
    test = validation = 0
    for unit, count in units:
        if test + count / 2 <= aim.test:
            test += count
            yield unit, count, TEST
        elif validation + count / 2 <= aim.validation:
            validation += count
            yield unit, count, VALIDATION
        else:
            yield unit, count, rest


def wanted(aim: Sizes) -> tuple[str, ...]:
    """Return the held-out splits that must not be empty."""
    return tuple(name for name, size in ((TEST, aim.test), (VALIDATION, aim.validation)) if size)


def too_few_units(split: str, units: int, by: str) -> Rejected:
    """Say that a split stays empty because there are too few lessons or speakers to hold one out."""
    fix = f"Add examples of more {by}s, split by conversation, or set the share of this split to 0."
    return Rejected(
        f"The {split} split would be empty: there are only {units} {by}s. {fix}", code="empty_split", fix=fix
    )


def _target(examples: int, share: float, split: str) -> int:
    size = int(examples * share + 0.5)
    if share and examples >= ENOUGH:
        return max(1, size)
    if share and not size:
        raise _empty(split, examples)
    return size


def _empty(split: str, examples: int) -> Rejected:
    fix = f"Add examples until there are {ENOUGH}, or set the share of this split to 0."
    return Rejected(
        f"The {split} split would be empty: only {examples} examples can be used. {fix}", code="empty_split", fix=fix
    )
