"""What an organisation may spend in a month: how it is wished and shown, and what is refused when it is spent."""

from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from msgspec import Meta, Struct

from libs.errors import OverBudget, Rejected
from libs.months import month_of
from services.gateway.domain.wishes import Wish

Monthly = Annotated[float, Meta(gt=0, le=1_000_000_000, examples=[500.0])]
NamedZone = Annotated[str, Meta(max_length=64, examples=["Europe/Berlin"])]


class BudgetWish(Wish, frozen=True, kw_only=True):
    """What a month may cost at most, in the installation's currency, and by whose clock a month begins."""

    monthly: Monthly
    time_zone: NamedZone = "UTC"


class Budget(Struct, kw_only=True):
    """What a month may cost (``monthly`` null: as much as it likes), and how this one stands.

    ``spent`` is what runs cost that ended or were set aside this month, ``held`` the most that running jobs may still
    cost, ``left`` the rest. ``used_up``: what is left pays for no training, so no job is accepted.
    """

    monthly: float | None
    time_zone: str
    month: str
    spent: float | None
    held: float | None
    left: float | None
    used_up: bool
    object: Literal["budget"] = "budget"


NO_BUDGET: dict[str, Any] = {"monthly": 0.0, "zone": "UTC", "month": ""}


def check(wish: BudgetWish) -> None:
    """Refuse a zone that nobody knows."""
    if wish.time_zone not in available_timezones():
        raise Rejected(
            f"{wish.time_zone!r} is no time zone. Give one such as Europe/Berlin.", code="bad_zone", field="time_zone"
        )


def budget_of(row: Any, at: datetime) -> Budget:
    """Show the budget as it stands; a month that the scheduler has told nothing of has cost nothing yet."""
    month, limit = month_of(at, row["zone"]), row["monthly"]
    if not limit:
        return Budget(monthly=None, time_zone=row["zone"], month=month, spent=None, held=None, left=None, used_up=False)
    told = row["month"] == month
    spent, held = (row["spent"], row["held"]) if told else (0.0, 0.0)
    return Budget(
        monthly=limit,
        time_zone=row["zone"],
        month=month,
        spent=spent,
        held=held,
        left=max(0.0, round(limit - spent - held, 6)),
        used_up=told and is_used_up(row),
    )


def check_money(row: Any, at: datetime) -> None:
    """Return if another job may be accepted; ``OverBudget`` says what is spent and what to do."""
    if row["monthly"] and row["month"] == month_of(at, row["zone"]) and is_used_up(row):
        raise OverBudget(
            f"The organisation's budget of {row['monthly']:g} for {row['month']} is spent ({row['spent']:.4g}): what "
            "is left pays for no training.",
            code="monthly_budget_spent",
            fix="An owner can raise it (PUT /v1/budget, or woodshed budget set); else submit it again next month.",
        )


def is_used_up(row: Any) -> bool:
    """Whether the scheduler found the month used up; a limit that was raised since is news to it."""
    return bool(row["used_up"] and row["monthly"] <= row["counted_by"])
