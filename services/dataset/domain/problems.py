"""What is wrong with a file, line by line: collected for the people who must mend it.

All problems are counted, the first hundred are told. A bad line is left out; a warning
leaves its line in. Messages name places and kinds, never a customer's words.
"""

import re
from collections import Counter

from contracts.datasets import Dropped, Problem
from libs.errors import Rejected

KEPT = 100
"""Problems told with a fact; the rest are only counted."""

LINES_NAMED = 10
"""Line numbers named for each reason that examples were dropped for."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}")


class BadRecord(Rejected):
    """One record that cannot become an example: why, in which field, and how to mend it."""


class Tally:
    """Counts what an import leaves out or wonders about."""

    def __init__(self) -> None:
        self.bad_lines = 0
        self.warnings = 0
        self.codes: Counter[str] = Counter()
        self.first: dict[str, BadRecord] = {}
        self._bad: list[Problem] = []
        self._warned: list[Problem] = []
        self._dropped: dict[str, tuple[int, list[int]]] = {}

    def bad(self, line: int, error: BadRecord) -> None:
        """Count a record that is left out."""
        self.bad_lines += 1
        self.codes[error.code] += 1
        self.first.setdefault(error.code, error)
        if len(self._bad) < KEPT:
            self._bad.append(_problem(line, error, "error"))

    def warn(self, line: int, error: BadRecord) -> None:
        """Count something a person should know of; the record stays in."""
        self.warnings += 1
        if len(self._warned) < KEPT:
            self._warned.append(_problem(line, error, "warning"))

    def drop(self, reason: str, line: int, count: int = 1) -> None:
        """Count what was left out on purpose, such as an exact duplicate."""
        before, lines = self._dropped.get(reason, (0, []))
        if len(lines) < LINES_NAMED and line not in lines:
            lines.append(line)
        self._dropped[reason] = (before + count, lines)

    def dropped_for(self, reason: str) -> int:
        """Return how many were dropped for a reason."""
        return self._dropped.get(reason, (0, []))[0]

    @property
    def problem_count(self) -> int:
        """How many problems there are in all, told or not."""
        return self.bad_lines + self.warnings

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The first problems: those that cost a record before those that do not."""
        return tuple((self._bad + self._warned)[:KEPT])

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """What was dropped, by reason in alphabetical order."""
        rows = sorted(self._dropped.items())
        return tuple(Dropped(reason=reason, count=count, lines=tuple(lines)) for reason, (count, lines) in rows)


def shown(name: str) -> str:
    """Return a field or role name for a message, or ``"?"`` where it may be somebody's text."""
    return name if _NAME.fullmatch(name) else "?"


def _problem(line: int, error: BadRecord, severity: str) -> Problem:
    return Problem(
        line=line,
        code=error.code,
        message=error.message,
        fix=error.fix or "",
        field=error.field or "",
        severity=severity,
    )
