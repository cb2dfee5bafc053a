"""From tokens to text that may be told: whole characters only, nothing that could become a stop string, no stop string.

A token brings bytes, perhaps half a character. Text is held back while it may still turn out to begin one of the
strings at which the reply ends; a token is told with the first of its text.
"""

import codecs
from collections import deque
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Heard(NamedTuple, Generic[T]):
    """What may be told now: text, and the tokens (as they were given) that it belongs to."""

    text: str
    tokens: list[T]


class Speech(Generic[T]):
    """One reply while it is being made. ``stopped`` once one of ``stops`` came; nothing is told after it."""

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self.stopped = False
        self._stops = stops
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._told = 0
        self._waiting: deque[tuple[int, T]] = deque()

    def say(self, octets: bytes, token: T) -> Heard[T]:
        """Take the next token; return what may be told."""
        self._waiting.append((self._told + len(self._held), token))
        self._held += self._decoder.decode(octets)
        return self._tell(self._free())

    def end(self) -> Heard[T]:
        """Return the rest: nothing comes any more, so nothing is held back. A half character becomes U+FFFD."""
        if self.stopped:
            return Heard("", [])
        self._held += self._decoder.decode(b"", final=True)
        heard = self._tell(self._free(to_the_end=True))
        if not self.stopped:
            heard.tokens.extend(token for _, token in self._waiting)
        return heard

    def _free(self, *, to_the_end: bool = False) -> int:
        """Return how much of what is held may be told, and note whether a stop string is in it."""
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            self.stopped = True
            return min(found)
        return len(self._held) - (0 if to_the_end else self._beginning())

    def _beginning(self) -> int:
        """Return the length of the longest end of what is held that begins a stop string."""
        return max((_overlap(self._held, stop) for stop in self._stops), default=0)

    def _tell(self, count: int) -> Heard[T]:
        text, self._held = self._held[:count], self._held[count:]
        self._told += count
        tokens = []
        while self._waiting and self._waiting[0][0] < self._told:
            tokens.append(self._waiting.popleft()[1])
        return Heard(text, tokens)


def _overlap(text: str, stop: str) -> int:
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
