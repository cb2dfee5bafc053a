"""What to do after an attempt was lost: go on from the newest checkpoint, or give up, and why.

Budgets by cause: a lost worker 5 times, an infrastructure error 10, out of memory 2 (each
halves the tokens of a forward pass; accumulation grows to match, so the optimiser's steps
stay what they were), a user's error 0. Three attempts without a new checkpoint make no progress.
"""

from typing import Literal

from msgspec import Struct

from services.trainer.domain.failures import Failure, explained

Cause = Literal["lost_worker", "infrastructure", "out_of_memory"]

BUDGETS: dict[Cause, int] = {"lost_worker": 5, "infrastructure": 10, "out_of_memory": 2}
BARREN_ATTEMPTS = 3
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
    """Decide for an attempt that ended with ``kind``, which is empty when the process could not say."""
    cause = _cause(kind)
    if cause is None:
        return explained(kind, evidence, message)
    if history.losses.get(cause, 0) >= BUDGETS[cause]:
        return explained(cause, evidence, message, times=BUDGETS[cause] + 1)
    if history.barren + 1 >= BARREN_ATTEMPTS:
        return explained("no_progress", evidence, message, times=BARREN_ATTEMPTS)
    halve = cause == "out_of_memory" and history.micro_tokens > 0
    return GoOn(
        cause=cause,
        micro_tokens=max(SMALLEST_MICRO_TOKENS, history.micro_tokens // 2) if halve else history.micro_tokens,
    )


def _cause(kind: str) -> Cause | None:
    match kind:
        case "" | "lost_worker":
            return "lost_worker"
        case "infrastructure" | "bad_checkpoint" | "storage":
            return "infrastructure"
        case "out_of_memory":
            return "out_of_memory"
        case _:
            return None
