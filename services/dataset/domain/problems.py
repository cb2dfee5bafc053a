"""What is wrong with a file, line by line: collected for the people who must mend it.

All problems are counted, the first hundred are told. A bad line is left out; a warning
leaves its line in. Messages name places and kinds, never a customer's words.
"""

import re
from collections import Counter
from typing import Any

from msgspec import Struct

from contracts.datasets import Dropped, Problem, Resemblance
from libs.errors import Rejected

KEPT = 100
"""Problems told with a fact; the rest are only counted."""

LINES_NAMED = 10
"""Line numbers named for each reason that examples were dropped for."""

RESEMBLANCES_NAMED = 100
"""Near duplicates that are named with what they resemble; the rest are only counted."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}")


class BadRecord(Rejected):
    """One record that cannot become an example: why, in which field, and how to mend it."""


class Tally:
    """Counts what an import leaves out or wonders about. Tallies of a file's parts, added in order, are the file's."""

    def __init__(self) -> None:
        self.bad_lines = 0
        self.warnings = 0
        self.codes: Counter[str] = Counter()
        self.first: dict[str, Problem] = {}
        self._bad: list[Problem] = []
        self._warned: list[Problem] = []
        self._dropped: dict[str, _Left] = {}

    def bad(self, line: int, error: BadRecord) -> None:
        """Count a record that is left out."""
        problem = problem_of(line, error, "error")
        self.bad_lines += 1
        self.codes[problem.code] += 1
        self.first.setdefault(problem.code, problem)
        _keep(self._bad, [problem], KEPT)

    def warn(self, problem: Problem) -> None:
        """Count something a person should know of; the record stays in."""
        self.warnings += 1
        _keep(self._warned, [problem], KEPT)

    def drop(self, reason: str, line: int, count: int = 1) -> None:
        """Count what was left out on purpose, such as an exact duplicate."""
        self._left(reason).add(_Left(count, [line]))

    def resembles(self, reason: str, found: Resemblance) -> None:
        """Count an example that was left out because it is nearly another one."""
        self._left(reason).add(_Left(1, [found.line], [found]))

    def add(self, later: "Tally") -> None:
        """Add what a later part of the file gave."""
        self.bad_lines += later.bad_lines
        self.warnings += later.warnings
        self.codes.update(later.codes)
        self.first = later.first | self.first
        _keep(self._bad, later._bad, KEPT)
        _keep(self._warned, later._warned, KEPT)
        for reason, left in later._dropped.items():
            self._left(reason).add(left)

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
        return tuple(
            Dropped(reason=reason, count=left.count, lines=tuple(left.lines), resembling=tuple(left.resembling))
            for reason, left in sorted(self._dropped.items())
        )

    def _left(self, reason: str) -> "_Left":
        return self._dropped.setdefault(reason, _Left(0, []))


class _Left(Struct):
    """What was left out for one reason."""

    count: int
    lines: list[int]
    resembling: list[Resemblance] = []

    def add(self, more: "_Left") -> None:
        self.count += more.count
        _keep(self.lines, [line for line in dict.fromkeys(more.lines) if line not in self.lines], LINES_NAMED)
        _keep(self.resembling, more.resembling, RESEMBLANCES_NAMED)


def _keep(kept: list[Any], more: list[Any], most: int) -> None:
    kept += more[: most - len(kept)]


def shown(name: str) -> str:
    """Return a field or role name for a message, or ``"?"`` where it may be somebody's text."""
    return name if _NAME.fullmatch(name) else "?"


def problem_of(line: int, error: BadRecord, severity: str) -> Problem:
    """Say what is wrong with a record, as people are told."""
    return Problem(
        line=line,
        code=error.code,
        message=error.message,
        fix=error.fix or "",
        field=error.field or "",
        severity=severity,
    )
