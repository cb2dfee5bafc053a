"""When a job is refused for money, and how a month is shown."""

from datetime import UTC, datetime
from typing import Any

import pytest

from libs.errors import OverBudget, Rejected
from services.gateway.domain.budgets import NO_BUDGET, BudgetWish, budget_of, check, check_money

AT = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
SPENT: dict[str, Any] = {
    "monthly": 10.0, "zone": "UTC", "month": "2026-11", "counted_by": 10.0, "spent": 9.9999, "held": 0.0,
    "used_up": True,
}  # fmt: skip


def test_a_job_is_refused_when_the_month_is_used_up_and_told_what_to_do() -> None:
    with pytest.raises(OverBudget, match="budget of 10 for 2026-11 is spent") as refused:
        check_money(SPENT, AT)
    assert (refused.value.status, refused.value.code) == (402, "monthly_budget_spent")
    assert "woodshed budget set" in str(refused.value.fix)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"used_up": False}, id="something is left"),
        pytest.param({"monthly": 20.0}, id="raised since"),
        pytest.param({"monthly": 0.0}, id="lifted"),
        pytest.param({"month": "2026-10"}, id="last month"),
        pytest.param({"zone": "Europe/Berlin"}, id="the next month has begun there"),
        pytest.param(NO_BUDGET, id="never set"),
    ],
)
def test_a_job_is_accepted(change: dict[str, Any]) -> None:
    check_money(SPENT | change, AT)


def test_a_month_nothing_was_told_of_has_cost_nothing() -> None:
    assert budget_of(SPENT, AT).left == 0.0001
    fresh = budget_of(SPENT | {"zone": "Europe/Berlin"}, AT)
    assert (fresh.month, fresh.spent, fresh.left, fresh.used_up) == ("2026-12", 0.0, 10.0, False)
    assert budget_of(NO_BUDGET, AT).monthly is None


def test_a_zone_nobody_knows_is_refused() -> None:
    with pytest.raises(Rejected, match="Europe/Berlin"):
        check(BudgetWish(monthly=1.0, time_zone="Mars/Olympus"))
