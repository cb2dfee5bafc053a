"""What a month's budget still pays for: who gets a device, how much is held for it, and when somebody is told.

Amounts are whole millionths of the currency. What is held is the most a job's run may cost from here on; the trainer
ends it before that is spent, with what it has learned, as it does with a job's own budget.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from contracts.jobs import Estimate
from libs.months import month_of
from services.scheduler.domain.estimate import Rate
from services.scheduler.domain.money import MILLION

THRESHOLDS = (50, 80, 100)
"""Hundredths of a budget that are told."""
HELD = 2
"""How many times what nine in ten cost at most is held: a job that is cut short though there is money is rare then."""
LEAST_SECONDS = 60.0
LEAST_SHARE = 20
"""What pays for a minute on one's own machine, or a twentieth of a smaller budget, is not worth a start."""


class Limit(Struct, frozen=True):
    """What an organisation may spend in a month, of the calendar of ``zone``."""

    tenant: str
    monthly: int
    zone: str

    def month(self, at: datetime) -> str:
        """Return the month that a cost is booked in."""
        return month_of(at, self.zone)


class Purse(Struct, frozen=True, kw_only=True):
    """An organisation's money this month: ``least`` is what a job needs to begin."""

    tenant: str
    month: str
    monthly: int
    spent: int
    held: int
    least: int

    @property
    def left(self) -> int:
        """What is neither spent nor held."""
        return self.monthly - self.spent - self.held

    @property
    def is_short(self) -> bool:
        """Whether no job gets a device now; it may when one ends that costs less than was held."""
        return self.left <= self.least

    @property
    def is_used_up(self) -> bool:
        """Whether no job gets a device this month, whatever becomes of what is held."""
        return self.monthly - self.spent <= self.least

    def reached(self) -> int:
        """Return the highest threshold that is passed; 0: none is."""
        passed = [percent for percent in THRESHOLDS if self.spent * 100 >= self.monthly * percent]
        return THRESHOLDS[-1] if self.is_used_up else max(passed, default=0)


class Purses:
    """The money of everybody who has a budget, as it goes while one match gives devices away."""

    def __init__(self, purses: Iterable[Purse]) -> None:
        self._left = {purse.tenant: purse.left for purse in purses}
        self._least = {purse.tenant: purse.least for purse in purses}

    def short(self) -> list[str]:
        """Return who has nothing left for a job."""
        return [tenant for tenant, left in self._left.items() if left <= self._least[tenant]]

    def left(self, tenant: str) -> int | None:
        """Return what a job may cost; ``None``: as much as it likes."""
        return self._left.get(tenant)

    def hold(self, tenant: str, amount: int) -> None:
        """Set something aside for a job that gets a device."""
        if tenant in self._left:
            self._left[tenant] -= amount


def least(monthly: int, rate: Rate) -> int:
    """Return what a job needs to begin."""
    return min(monthly // LEAST_SHARE, round(rate.cost(LEAST_SECONDS) * MILLION))


def allowed(own: float | None, charged: int, left: int | None) -> float | None:
    """Return what a run may cost from here on, by its own budget and the month's; ``None``: nobody set a limit."""
    limits = [] if own is None else [max(0, round(own * MILLION) - charged)]
    limits += [] if left is None else [max(0, left)]
    return min(limits) / MILLION if limits else None


def to_hold(estimate: Estimate, own: float | None, charged: int, left: int) -> int:
    """Return what is set aside for a run: its own budget, else twice what nine in ten cost; at most what is left."""
    if own is not None:
        wanted = max(1, round(own * MILLION) - charged)
    else:
        dear = estimate.seconds_high / estimate.seconds if estimate.seconds else 1.0
        wanted = round(HELD * estimate.cost * dear * MILLION)
    return min(wanted, left)
