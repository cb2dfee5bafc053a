"""When two examples are so alike that one of them adds nothing, and would betray a test if it stood in both splits.

Texts are compared by their *shingles*, the sets of three words in a row, blind to case and punctuation: the share of
all that both have (Jaccard's index, Broder 1997). What is asked and what is answered must each be alike: a new answer
to an old question teaches something, and so does an old answer to a new question. The system prompt is not looked at,
for it may be the same on purpose. Of a lesson only what is taught counts: its questions are this house's own.

Answers of fewer than ``FEWEST_WORDS`` words are never compared: there, the little that differs may be all that matters
("it is $340", "it is $430"), and so few shingles are no evidence. In 40 words, one word replaced leaves 0.85.
"""

import re
from collections.abc import Sequence

from msgspec import Struct

from services.dataset.domain.examples import Turn

FEWEST_WORDS = 40
"""Words of an answer from which on it is compared."""

TOGETHER = 3
"""Words of a shingle."""

_WORD = re.compile(r"\w+")
_ASCII = "".join(letter if _WORD.match(letter) else " " for letter in map(chr, range(128)))
"""What each ASCII character becomes; ``str.translate`` is five times as fast as the expression."""


class Sides(Struct, frozen=True):
    """The words of an example as they are compared: what is ``asked`` and what is ``answered``."""

    asked: list[str]
    answered: list[str]

    @property
    def is_compared(self) -> bool:
        """Whether the answer is long enough to be compared at all."""
        return len(self.answered) >= FEWEST_WORDS

    @property
    def shingles(self) -> list[str]:
        """All shingles; those of what is asked are told from those of what is answered."""
        return [*_shingles(self.answered, " "), *_shingles(self.asked, "\x1f")]


def sides(turns: Sequence[Turn], rejected: Sequence[Turn] = (), *, transcribed: bool = False) -> Sides:
    """Return what of an example is compared; of a pair both replies are answers."""
    answers = [turn.content for turn in turns if turn.role == "assistant"]
    answers += [turn.content for turn in rejected[-1:]]
    asked = [] if transcribed else [turn.content for turn in turns if turn.role not in ("assistant", "system")]
    return Sides(_words(asked), _words(answers))


def similarity(one: Sides, other: Sides) -> float:
    """Return how alike two examples are, 0 to 1: the lower of what is asked and what is answered."""
    return min(
        _jaccard(_shingles(one.asked, " "), _shingles(other.asked, " ")),
        _jaccard(_shingles(one.answered, " "), _shingles(other.answered, " ")),
    )


def _jaccard(one: Sequence[str], other: Sequence[str]) -> float:
    first, second = set(one), set(other)
    whole = len(first | second)
    return len(first & second) / whole if whole else 1.0


def _words(texts: Sequence[str]) -> list[str]:
    text = "\n".join(texts).lower()
    return text.translate(_ASCII).split() if text.isascii() else _WORD.findall(text)


def _shingles(words: list[str], glue: str) -> list[str]:
    """Return every three words in a row, of fewer words all of them as one."""
    if len(words) < TOGETHER:
        return [glue.join(words)] if words else []
    return list(map(glue.join, zip(words, words[1:], words[2:], strict=False)))
