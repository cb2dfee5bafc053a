"""``woodshed budget``: how a month is said to stand."""

from services.cli.budgets import said

BUDGET = {
    "monthly": 500.0, "time_zone": "Europe/Berlin", "month": "2026-11", "spent": 401.25, "held": 12.5, "left": 86.25,
    "used_up": False,
}  # fmt: skip


def test_a_month_says_what_is_spent_held_and_left() -> None:
    stands = "2026-11 (Europe/Berlin): 401.25 of 500.00 spent, 12.50 held for running jobs, 86.25 left."
    assert said(BUDGET) == stands
    assert said(BUDGET | {"used_up": True}) == (
        f"{stands} It is used up: no job is accepted until it is raised or the month is over."
    )


def test_no_budget_says_how_to_set_one() -> None:
    assert "woodshed budget set" in said(BUDGET | {"monthly": None})
