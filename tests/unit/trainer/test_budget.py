"""What a budget still pays for, and when somebody hears of it."""

import pytest

from services.trainer.domain.budget import TRAINED, reached, seconds_paid, sentence, tighter
from services.trainer.domain.time_limit import LEAST


def test_an_attempt_may_spend_what_earlier_ones_left_but_for_what_saving_takes() -> None:
    assert seconds_paid(1.0, 0.0, 3.6) == pytest.approx(TRAINED * 1000)
    assert seconds_paid(1.0, 0.5, 3.6) == pytest.approx(TRAINED * 1000 - 500)
    assert seconds_paid(1.0, 0.5, 7.2) == pytest.approx((TRAINED * 1000 - 500) / 2)
    assert seconds_paid(1.0, 2.0, 3.6) == LEAST


@pytest.mark.parametrize(("budget", "per_hour"), [(0.0, 3.6), (1.0, 0.0)])
def test_without_a_budget_or_a_price_nothing_bounds_it(budget: float, per_hour: float) -> None:
    assert seconds_paid(budget, 0.0, per_hour) == 0.0


@pytest.mark.parametrize(
    ("time", "money", "left"),
    [
        (0.0, 0.0, (0.0, "time_limit")),
        (60.0, 0.0, (60.0, "time_limit")),
        (60.0, 90.0, (60.0, "time_limit")),
        (60.0, 30.0, (30.0, "budget")),
        (0.0, 30.0, (30.0, "budget")),
    ],
)
def test_the_tighter_limit_decides_and_is_named(time: float, money: float, left: tuple[float, str]) -> None:
    assert tighter(time, money) == left


def test_thresholds_are_reached_one_after_the_other_and_stay_so() -> None:
    assert [len(reached(2.0, spent)) for spent in (0.0, 0.99, 1.0, 1.6, 2.0, 9.0)] == [0, 0, 1, 2, 3, 3]
    assert reached(2.0, 1.6) == ["budget_50", "budget_80"]
    assert reached(0.0, 1.6) == []


def test_the_sentence_says_what_the_whole_will_cost() -> None:
    assert sentence(2.0, 1.0, 10, 40).startswith("1 of 2 are spent at step 10 of 40. At this pace all steps cost 4;")
    assert sentence(2.0, 1.0, 40, 40) == "1 of 2 are spent at step 40 of 40."
