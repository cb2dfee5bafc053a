"""What a month's budget pays for, and when somebody is told."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from contracts.jobs import Estimate
from libs.months import month_of
from services.scheduler.domain.budget import Purse, Purses, allowed, least, to_hold
from services.scheduler.domain.estimate import Rate

RATE = Rate(per_hour=0.06, currency="USD")
PURSE = Purse(tenant="acme", month="2026-11", monthly=1_000_000, spent=0, held=0, least=1000)
ESTIMATE = Estimate(
    seconds=100.0, seconds_low=50.0, seconds_high=200.0, cost=0.1, currency="USD", memory_bytes=0, steps=1, tokens=1
)


def test_a_month_begins_by_the_organisations_own_clock() -> None:
    late = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert [month_of(late, zone) for zone in ("UTC", "Europe/Berlin", "America/New_York")] == [
        "2026-11", "2026-12", "2026-11",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spent", "percent"),
    [
        (0, 0),
        (499_999, 0),
        (500_000, 50),
        (799_999, 50),
        (800_000, 80),
        (998_999, 80),
        (999_000, 100),
        (2_000_000, 100),
    ],
)
def test_the_highest_threshold_that_is_passed_is_told_and_a_rest_that_pays_for_nothing_is_no_rest(
    spent: int, percent: int
) -> None:
    assert replace(PURSE, spent=spent).reached() == percent


def test_what_is_held_makes_a_purse_short_but_never_used_up() -> None:
    held = replace(PURSE, spent=400_000, held=600_000)
    assert (held.left, held.is_short, held.is_used_up) == (0, True, False)


def test_devices_are_given_away_until_what_is_left_pays_for_no_start() -> None:
    purses = Purses([PURSE])
    assert (purses.left("acme"), purses.left("rival"), purses.short()) == (1_000_000, None, [])
    purses.hold("acme", 999_500)
    purses.hold("rival", 5)
    assert purses.short() == ["acme"]


def test_a_start_needs_a_minute_of_an_own_machine_or_a_twentieth_of_a_small_budget() -> None:
    assert least(1_000_000_000, RATE) == 1000
    assert least(4000, RATE) == 200


@pytest.mark.parametrize(
    ("own", "charged", "left", "money"),
    [(None, 0, None, None), (2.0, 0, None, 2.0), (2.0, 500_000, None, 1.5), (2.0, 0, 300_000, 0.3), (None, 0, -5, 0.0)],
)
def test_a_run_may_cost_the_smaller_of_its_own_budget_and_what_the_month_has_left(
    own: float | None, charged: int, left: int | None, money: float | None
) -> None:
    assert allowed(own, charged, left) == money


def test_what_is_held_is_the_own_budget_or_twice_the_dear_end_of_the_estimate_and_never_more_than_is_left() -> None:
    assert to_hold(ESTIMATE, None, 0, 10_000_000) == 400_000
    assert to_hold(ESTIMATE, None, 0, 300_000) == 300_000
    assert to_hold(ESTIMATE, 0.25, 50_000, 10_000_000) == 200_000
    assert to_hold(ESTIMATE, 0.25, 900_000, 10_000_000) == 1
