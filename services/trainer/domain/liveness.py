"""Which leases have been silent too long, by a clock that stands still while nobody could be heard.

A broker or database outage must not kill a live lease: silence counts only in ticks
during which the arbiter itself was connected.
"""

LONGEST_TICK = 3.0


class Silence:
    """Seconds of countable silence for each fence."""

    def __init__(self, lease_seconds: float) -> None:
        self._limit = lease_seconds
        self._silent: dict[int, float] = {}

    def heard(self, fence: int) -> None:
        """The holder of this fence spoke."""
        self._silent[fence] = 0.0

    def tick(self, open_fences: set[int], elapsed: float, *, connected: bool) -> list[int]:
        """Let ``elapsed`` seconds pass and return the fences that are over their limit.

        A tick longer than three seconds means this process itself was asleep: it counts for nothing.
        """
        self._silent = {fence: self._silent.get(fence, 0.0) for fence in open_fences}
        if not connected or elapsed > LONGEST_TICK:
            return []
        for fence in self._silent:
            self._silent[fence] += elapsed
        return sorted(fence for fence, seconds in self._silent.items() if seconds > self._limit)
