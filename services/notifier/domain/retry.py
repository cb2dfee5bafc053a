"""When a notice that could not be delivered is tried again, and when that ends."""

import random
from collections.abc import Callable

from msgspec import Struct


class Backoff(Struct, frozen=True, kw_only=True):
    """Waits that double from ``first`` to ``longest`` seconds, spread by ``jitter`` (0 to 1), for ``tries`` tries.

    The defaults try for one to two hours: they outlast a mail server's restart, not its removal.
    """

    first: float = 5.0
    longest: float = 1800.0
    tries: int = 13
    jitter: Callable[[], float] = random.random

    def wait(self, tried: int, asked: float = 0.0) -> float | None:
        """Return the seconds to wait after ``tried`` tries, at least those ``asked`` for; ``None`` gives up."""
        if tried >= self.tries:
            return None
        full = min(self.longest, self.first * 2.0 ** (tried - 1))
        return max(asked, full * (0.5 + self.jitter() / 2))
