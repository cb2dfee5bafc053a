"""How far a measurement is in all, and how long it still takes: for whoever watches a bar.

Suites are weighed by the tokens they read and, since a token is written one step after the other, five times as much
by those they write (measured with the shipped model on two cores: 1.6 and 8.7 ms).
"""

from collections.abc import Iterable, Mapping, Sequence

TEMPLATE = 5
"""Tokens a template puts around what somebody says, about."""
LETTERS = 4
"""Of a token, about."""
WRITING = 5


def reading(talks: Iterable[Sequence[str]], longest: int) -> float:
    """Return about how much work it is to read talks, each a sequence of texts, up to ``longest`` tokens of each."""
    return sum(min(sum(TEMPLATE + len(text) / LETTERS for text in talk), longest) for talk in talks)


def writing(replies: int, tokens: int) -> float:
    """Return how much work it is to write so many replies at full length."""
    return float(WRITING * replies * tokens)


class Course:
    """The suites of a measurement in order, each with its work; ``began`` is a moment in seconds, as later ones are."""

    def __init__(self, work: Mapping[str, float], began: float) -> None:
        self._work = work
        self._began = began

    def share(self, suite: str, done: int, total: int) -> float:
        """Return which part of the whole is done, from 0 to 1, when ``done`` of ``total`` items of a suite are."""
        names = list(self._work)
        before = sum(self._work[each] for each in names[: names.index(suite)])
        return (before + self._work[suite] * done / total) / sum(self._work.values())

    def left(self, share: float, now: float) -> float:
        """Return the seconds still to come if the rest goes as fast as what is done."""
        return (now - self._began) * (1 - share) / share
