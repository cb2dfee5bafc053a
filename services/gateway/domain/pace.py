"""How slowly a client may send: a patience that waiting uses up and every byte gives back."""


class Pace:
    """Patience with one sender: ``most`` seconds at first and at any time, of which ``left`` are left.

    A byte gives back ``1 / least`` seconds. So whoever sends at least ``least`` bytes a second may go on for ever, and
    whoever stops is waited for ``most`` seconds.
    """

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self.left = most

    def heard(self, size: int, waited: float) -> None:
        """Count ``size`` bytes that came after so many seconds."""
        self.left = min(self._most, self.left - waited + size / self._least)
