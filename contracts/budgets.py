"""What an organisation may spend in a month, and how much of it is spent and held."""

from typing import Annotated, ClassVar

from msgspec import Meta

from contracts.base import Count, Event, Token
from contracts.notices import Zone

Month = Annotated[str, Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
Money = Annotated[float, Meta(ge=0)]
"""In the currency of the installation, to the millionth."""


class BudgetSet(Event, frozen=True, kw_only=True, tag="budget.set.v1"):
    """What an organisation may spend in each ``period``, which is a calendar month of ``zone``; 0: as much as it likes.

    Of several the one with the largest version stands.
    """

    subject: ClassVar[str] = "evt.{tenant}.budget.{period}.set"

    limit: Money
    zone: Zone = "UTC"
    period: Token = "monthly"


class BudgetMoved(Event, frozen=True, kw_only=True, tag="budget.moved.v1"):
    """What a month has cost so far, and what is held for jobs that have a device.

    ``used_up``: what is left of ``limit`` pays for no training, whatever becomes of what is held.
    """

    subject: ClassVar[str] = "evt.{tenant}.budget.{month}.moved"

    month: Month
    limit: Money
    spent: Money
    held: Money
    used_up: bool = False


class BudgetThresholdReached(Event, frozen=True, kw_only=True, tag="budget.threshold_reached.v1"):
    """So many hundredths of a month's budget are spent; each threshold is told once a month."""

    subject: ClassVar[str] = "evt.{tenant}.budget.{month}.threshold_reached"

    month: Month
    percent: Count
    limit: Money
    spent: Money
