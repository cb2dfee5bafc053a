"""What to do after an attempt was lost: go on from the newest checkpoint, or give up, and why.

Budgets by cause: preemption without limit, a lost worker 5 times, one that hung 3, an infrastructure error 10
(each after a longer wait), out of memory 2 (each halves the tokens of a forward pass;
accumulation grows to match, so the optimiser's steps stay what they were), a user's error 0.
Three attempts in a row without a new checkpoint make no progress; one that its machine or the
infrastructure took away shows nothing about the run and does not count.
"""

import hashlib
from typing import Literal

from msgspec import Struct

from services.trainer.domain.failure_table import RULES, Cause
from services.trainer.domain.failures import Failure, explained

PREEMPTED: Literal["preempted"] = "preempted"
"""The machine was taken away with notice: no failure, so no row in the table of failures."""
BUDGETS: dict[Cause, int] = {"lost_worker": 5, "hung": 3, "infrastructure": 10, "out_of_memory": 2}
"""How often a run survives each cause."""
BARREN_ATTEMPTS = 3
NAMELESS = frozenset({"lost_worker", "unexplained"})
"""Kinds that say less than that there was no progress."""
SMALLEST_MICRO_TOKENS = 128


class History(Struct, frozen=True, kw_only=True):
    """How often a run was lost before, by cause, and the attempts in a row that committed no checkpoint."""

    losses: dict[str, int]
    barren: int
    micro_tokens: int
    run_id: str = ""


class Backoff(Struct, frozen=True, kw_only=True):
    """The shortest and the longest wait after an infrastructure error, in seconds."""

    first: float = 60.0
    last: float = 1800.0


class GoOn(Struct, frozen=True, kw_only=True):
    """Try again from the newest checkpoint, ``wait`` seconds from now. ``barren``: the attempt counts as fruitless."""

    cause: Cause | Literal["preempted"]
    micro_tokens: int
    wait: float = 0.0
    barren: bool = True


USUAL = Backoff()


def after_loss(kind: str, evidence: str, message: str, history: History, backoff: Backoff = USUAL) -> GoOn | Failure:
    """Decide for an attempt that ended with ``kind``: ``preempted``, or a row of the table of failures."""
    if kind == PREEMPTED:
        return GoOn(cause=PREEMPTED, micro_tokens=history.micro_tokens, barren=False)
    cause = RULES[kind].cause if kind in RULES else None
    if cause is None:
        return explained(kind, evidence, message)
    lost = history.losses.get(cause, 0)
    if lost >= BUDGETS[cause]:
        return explained(kind, evidence, message, times=BUDGETS[cause] + 1)
    barren = cause != "infrastructure"
    if barren and history.barren + 1 >= BARREN_ATTEMPTS:
        return explained("no_progress" if kind in NAMELESS else kind, evidence, message, times=BARREN_ATTEMPTS)
    halve = cause == "out_of_memory" and history.micro_tokens > 0
    return GoOn(
        cause=cause,
        micro_tokens=max(SMALLEST_MICRO_TOKENS, history.micro_tokens // 2) if halve else history.micro_tokens,
        wait=wait_before(history.run_id, lost, backoff) if cause == "infrastructure" else 0.0,
        barren=barren,
    )


def is_hopeless(kind: str) -> bool:
    """Whether an attempt that ended with ``kind`` would end so again, however often it is tried."""
    return kind != PREEMPTED and (kind not in RULES or RULES[kind].cause is None)


def wait_before(run_id: str, lost: int, backoff: Backoff = USUAL) -> float:
    """Return how long to wait after the infrastructure failed for the ``lost``-th time (the first is 0), in seconds.

    Between once and twice ``first``, doubled each time, never longer than ``last``. Where in that range is drawn from
    the run's id, so that runs which failed together come back apart and a repeated decision is the same decision.
    """
    most = min(backoff.last, backoff.first * 2.0 ** (lost + 1))
    drawn: float = int.from_bytes(hashlib.sha256(f"{run_id}:{lost}".encode()).digest()[:8]) / 2**64
    return most / 2 + drawn * most / 2
