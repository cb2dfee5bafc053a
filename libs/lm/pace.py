"""How many threads speak: one or all, whichever was faster lately.

For a token of a small model threads wait for each other at a thousand places. With the cores to themselves two are
faster than one; beside other work one of them is often not running when it is waited for, and a token may take ten
times as long. Nobody knows beforehand, and it changes: so each is tried now and then, for a few tokens.
"""

TRIAL = 4
"""Tokens spoken to try what is not in use."""
SOON, LATE = 32, 1024
"""Tokens until the next trial: after a change, and at most; each trial that changes nothing doubles it."""
GAIN = 0.95
"""A change is worth it where a token takes less than this share of what it took."""
SLOW = 2.0
"""So many times the usual is slow: a trial ends, and what was chosen is doubted where it happens twice in a row."""


class Pace:
    """Threads for the next token, chosen by what the tokens before took. Not for several threads at once."""

    def __init__(self, most: int, *, alone: bool) -> None:
        """Begin with one thread (``alone``) or with ``most``."""
        self.most = most
        self._alone = alone
        self._usual = 0.0
        self._slow = 0
        self._pause = self._left = SOON
        self._tried: list[float] = []

    @property
    def threads(self) -> int:
        """How many threads are to speak the next token."""
        return 1 if self._alone != self._trying else self.most

    def took(self, seconds: float) -> None:
        """Hear what that token took."""
        if self._trying:
            self._try(seconds)
            return
        self._slow = self._slow + 1 if seconds > SLOW * self._usual > 0 else 0
        self._left -= 1
        if self._slow == 2 and not self._alone:
            self._left, self._usual = 0, seconds
        else:
            known = min(seconds, SLOW * self._usual) if self._usual else seconds
            self._usual = 0.8 * (self._usual or known) + 0.2 * known

    @property
    def _trying(self) -> bool:
        return self._left <= 0

    def _try(self, seconds: float) -> None:
        self._tried.append(seconds)
        mean = sum(self._tried) / len(self._tried)
        if seconds < SLOW * self._usual and len(self._tried) < TRIAL:
            return
        if better := mean < GAIN * self._usual:
            self._alone, self._usual = not self._alone, mean
        self._pause = SOON if better else min(2 * self._pause, LATE)
        self._left, self._slow, self._tried = self._pause, 0, []
