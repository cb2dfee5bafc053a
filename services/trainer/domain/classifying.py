"""Which row of the table of failures an ended process belongs to, judged by what is left of it.

The child knows its own exceptions best. What it could not say is read from its last words, the latest exception
first, then from the signal that ended it. Warnings are no reasons: once there is an exception, only exceptions count.
"""

import re
import signal
from collections.abc import Iterator

from services.trainer.domain.failure_table import RULES

_UNSAID = frozenset({"", "bug", "infrastructure"})
"""Kinds that say little: what was written last may say more. Infrastructure is the runner's own trouble; the child,
which it ended, has nothing to do with it."""

_SIGNS = tuple((kind, re.compile("|".join(rule.signs))) for kind, rule in RULES.items() if rule.signs)
_EXCEPTION = re.compile(r"([\w.]+\.)?[A-Z]\w*(Error|Exception|Enabled|Interrupt|Timeout|Diverged|NotLearning)\b")
_RANK = re.compile(r"^\[?rank\d+\]?: ?")
_PLACE = re.compile(r'^\s*(File "|frame #|\^+\s*$)')
_BREAK = re.compile(r"^(Traceback \(most recent call last\)|During handling of|The above exception was)")

_SIGNALS = {
    "SIGSEGV": "crashed",
    "SIGBUS": "crashed",
    "SIGABRT": "crashed",
    "SIGFPE": "crashed",
    "SIGILL": "installation",
    "SIGXFSZ": "disk_full",
}


def classified(
    kind: str, exit_code: int | None, stderr: str, said: str = "", *, killed_for_memory: bool = False
) -> str:
    """Return the key of the row in ``RULES``.

    ``kind`` and ``said`` are what the child or the runner said of it, empty when neither could. ``exit_code`` is
    negative for a signal. ``stderr`` are the child's last lines. ``killed_for_memory``: the kernel ended processes
    around the runner for want of memory meanwhile.
    """
    if kind not in _UNSAID:
        return kind if kind in RULES else "bug"
    if kind == "infrastructure":
        return _by_words(said) or kind
    ended_by = _signal(exit_code)
    if ended_by == "SIGKILL":
        return "killed_for_memory" if killed_for_memory else "lost_worker"
    return _by_words(f"{stderr}\n{said}") or _SIGNALS.get(ended_by) or kind or _unsaid(exit_code)


def _by_words(words: str) -> str | None:
    for line in _told(words):
        for kind, signs in _SIGNS:
            if signs.search(line):
                return kind
    return None


def _told(words: str) -> Iterator[str]:
    """Yield the lines that may name a reason, the last first: those of exceptions if there are any, else all."""
    lines = [_RANK.sub("", line) for line in words.splitlines()]
    spoken = [line for line in lines if line.strip() and not _PLACE.match(line)]
    return reversed(list(_of_exceptions(spoken)) or spoken)


def _of_exceptions(lines: list[str]) -> Iterator[str]:
    """Yield each exception's line and the lines its message goes on with."""
    inside = False
    for line in lines:
        if _EXCEPTION.match(line):
            inside = True
        elif _BREAK.match(line):
            inside = False
        if inside:
            yield line


def _signal(exit_code: int | None) -> str:
    """Name the signal of an exit: negative as Python reports it, or 128 + number as a shell does."""
    number = -exit_code if exit_code is not None and exit_code < 0 else (exit_code or 0) - 128
    return signal.Signals(number).name if number in set(signal.Signals) else ""


def _unsaid(exit_code: int | None) -> str:
    """Tell a process that simply went away (killed, asked to end, never heard of again) from one that gave up."""
    return "lost_worker" if not exit_code or _signal(exit_code) else "unexplained"
