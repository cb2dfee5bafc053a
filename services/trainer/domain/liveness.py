"""Who has been silent too long, by a clock that stands still while nobody could be heard.

A broker or database outage must not kill a live lease: silence counts only in ticks
during which the arbiter itself was connected.
"""

from typing import Generic, TypeVar

LONGEST_TICK = 3.0

Key = TypeVar("Key", int, str)


class Silence(Generic[Key]):
    """Seconds of countable silence: of each fence, or of each runner."""

    def __init__(self, lease_seconds: float) -> None:
        self._limit = lease_seconds
        self._silent: dict[Key, float] = {}

    def heard(self, key: Key) -> None:
        """It spoke."""
        self._silent[key] = 0.0

    def tick(self, expected: set[Key], elapsed: float, *, connected: bool) -> list[Key]:
        """Let ``elapsed`` seconds pass and return those of the expected that are over their limit.

        A tick longer than three seconds means this process itself was asleep: it counts for nothing.
        """
        self._silent = {key: self._silent.get(key, 0.0) for key in expected}
        if not connected or elapsed > LONGEST_TICK:
            return []
        for key in self._silent:
            self._silent[key] += elapsed
        return sorted(key for key, seconds in self._silent.items() if seconds > self._limit)
