"""What to do after an attempt was lost: go on from the newest checkpoint, or give up, and why.

Budgets by cause: a lost worker 5 times, an infrastructure error 10, out of memory 2 (each
halves the tokens of a forward pass; accumulation grows to match, so the optimiser's steps
stay what they were), a user's error 0. Three attempts without a new checkpoint make no progress.
"""

from msgspec import Struct

from services.trainer.domain.failures import RULES, Cause, Failure, explained

BUDGETS: dict[Cause, int] = {"lost_worker": 5, "infrastructure": 10, "out_of_memory": 2}
BARREN_ATTEMPTS = 3
NAMELESS = frozenset({"lost_worker", "infrastructure", "unexplained"})
"""Kinds that say less than that there was no progress."""
SMALLEST_MICRO_TOKENS = 128


class History(Struct, frozen=True, kw_only=True):
    """How often a run was lost before, by cause, and the attempts in a row that committed no checkpoint."""

    losses: dict[str, int]
    barren: int
    micro_tokens: int


class GoOn(Struct, frozen=True, kw_only=True):
    """Try again from the newest checkpoint."""

    cause: Cause
    micro_tokens: int


def after_loss(kind: str, evidence: str, message: str, history: History) -> GoOn | Failure:
    """Decide for an attempt that ended with ``kind``, a row of the table of failures."""
    cause = RULES[kind].cause if kind in RULES else None
    if cause is None:
        return explained(kind, evidence, message)
    if history.losses.get(cause, 0) >= BUDGETS[cause]:
        return explained(kind, evidence, message, times=BUDGETS[cause] + 1)
    if history.barren + 1 >= BARREN_ATTEMPTS:
        return explained("no_progress" if kind in NAMELESS else kind, evidence, message, times=BARREN_ATTEMPTS)
    halve = cause == "out_of_memory" and history.micro_tokens > 0
    return GoOn(
        cause=cause,
        micro_tokens=max(SMALLEST_MICRO_TOKENS, history.micro_tokens // 2) if halve else history.micro_tokens,
    )


def is_hopeless(kind: str) -> bool:
    """Whether an attempt that ended with ``kind`` would end so again, however often it is tried."""
    return kind not in RULES or RULES[kind].cause is None
