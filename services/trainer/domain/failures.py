"""A failed training in words a person understands, with what to do about it and the evidence.

A training failure is data, not an exception. Evidence is always kept: exit code or signal and the last lines the
process wrote. The sentences stand in ``failure_table``.
"""

import signal

from msgspec import Struct

from contracts.jobs import Remedy
from services.trainer.domain.failure_table import RULES

KEPT_LINES = 20
LONGEST_LINE = 300
KEPT_CHARACTERS = 2000
LONGEST_SAID = 1000


class Failure(Struct, frozen=True, kw_only=True):
    """A reason for programs, a sentence and a fix for people, and the evidence for engineers."""

    reason: str
    message: str
    fix: str
    evidence: str
    remedy: Remedy


_SAID_BETTER = frozenset({"user_data", "nothing_to_learn", "diverged", "no_learning"})
"""Kinds of which the child's own sentence, with its step or file, says all that the row would."""


def explained(kind: str, evidence: str, message: str, *, times: int = 0) -> Failure:
    """Return the failure of this kind; an unknown kind is a bug. ``times`` adds how often it happened."""
    rule = RULES.get(kind, RULES["bug"])
    own = message[:LONGEST_SAID]
    said = own if own and kind in _SAID_BETTER else f"{rule.message} {own}".strip()
    return Failure(
        reason=rule.reason,
        message=f"{said} (It happened {times} times.)" if times else said,
        fix=rule.fix,
        evidence=evidence,
        remedy=Remedy(kind=rule.remedy, title=rule.button, sentence=rule.fix),
    )


def evidence_of(exit_code: int | None, words: str, *, killed_for_memory: bool = False) -> str:
    """Say how a process ended and what it wrote last; long lines are cut, they hold data rather than reasons."""
    if exit_code is None:
        how = "nothing was heard of the process"
    elif exit_code < 0:
        how = f"killed by {signal.Signals(-exit_code).name}"
    else:
        how = f"exit code {exit_code}"
    if killed_for_memory:
        how += "; the kernel's count of processes killed for memory rose meanwhile"
    tail = "\n".join(line[:LONGEST_LINE] for line in words.splitlines()[-KEPT_LINES:])
    return f"{how}\n{tail[-KEPT_CHARACTERS + len(how) + 1 :]}".strip()
