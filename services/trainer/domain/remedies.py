"""The settings a fix changes, computed from the recipe that failed.

Only what a person would do next: one careful step, never a search. A fix that would change nothing (the rank is at its
least already) names no settings; the sentence stays.
"""

from collections.abc import Callable

import msgspec

from contracts.jobs import Overrides, Remedy
from contracts.recipes import Recipe

SHORTEST = 128
"""Tokens below which a conversation teaches next to nothing."""
LONGEST_TRIED = 1024
"""Conversations are seldom longer, so a first cut above this would leave everything as it was."""
SMALLEST_RANK = 4
SMALLEST_RATE = 1e-6
LONGEST_SECONDS = 86_400.0


def with_settings(kind: str, remedy: Remedy, recipe: Recipe) -> Remedy:
    """Add to a remedy what it changes of this recipe; ``kind`` is the row of the table of failures."""
    change = _CHANGES.get(kind)
    return remedy if change is None else msgspec.structs.replace(remedy, overrides=change(recipe))


def _less_memory(recipe: Recipe) -> Overrides | None:
    length = max(SHORTEST, min(recipe.max_length, LONGEST_TRIED) // 2)
    rank = max(SMALLEST_RANK, recipe.rank // 2)
    return _changed(
        Overrides(
            max_length=length if length < recipe.max_length else None,
            rank=rank if rank < recipe.rank else None,
        )
    )


def _half_the_rate(recipe: Recipe) -> Overrides | None:
    return _changed(Overrides(learning_rate=recipe.learning_rate / 2 if recipe.learning_rate > SMALLEST_RATE else None))


def _twice_the_time(recipe: Recipe) -> Overrides | None:
    longer = min(2 * recipe.time_limit, LONGEST_SECONDS)
    return _changed(Overrides(time_limit=longer if longer > recipe.time_limit else None))


def _changed(overrides: Overrides) -> Overrides | None:
    return overrides if overrides != Overrides() else None


_CHANGES: dict[str, Callable[[Recipe], Overrides | None]] = {
    "out_of_memory": _less_memory,
    "killed_for_memory": _less_memory,
    "diverged": _half_the_rate,
    "time_limit": _twice_the_time,
}
