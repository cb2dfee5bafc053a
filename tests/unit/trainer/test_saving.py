"""How often a run saves: seldom enough to be cheap, often enough for an interruption to be cheap too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.jobs import Estimate
from contracts.recipes import SHIPPED_MODEL, Recipe
from services.trainer.domain.saving import (
    LONGEST,
    SHARE,
    TRIFLE,
    Rhythm,
    Rule,
    affordable,
    expected_cost,
    interval,
    rule_for,
)

HOUR = 3600.0
LORA = Recipe(base_model=SHIPPED_MODEL)
FULL = Recipe(base_model=SHIPPED_MODEL, method="full")


def estimate(steps: int, seconds_a_step: float) -> Estimate:
    return Estimate(
        seconds=steps * seconds_a_step, seconds_low=0, seconds_high=0, cost=0, currency="EUR", memory_bytes=0,
        steps=steps, tokens=0,
    )  # fmt: skip


@given(
    steps=st.integers(0, 100_000), step=st.floats(1e-3, 1e3), between=st.floats(0.01, 1e7), cost=st.floats(1e-3, 1e3)
)
def test_saving_takes_no_more_than_its_share_unless_an_interruption_would_cost_more(
    steps: int, step: float, between: float, cost: float
) -> None:
    every = interval(estimate(steps, step), between, cost)
    assert every >= 1
    cheap = cost / (every * step) <= SHARE * 1.001
    as_rare_as_may_be = (every + 1) * step > LONGEST * between
    once_in_a_short_run = cost < TRIFLE and every >= steps // 3
    assert cheap or as_rare_as_may_be or once_in_a_short_run


@given(steps=st.integers(1, 100_000), step=st.floats(0.01, 1e3), between=st.floats(1, 1e7), cost=st.floats(1e-3, 1e3))
def test_nobody_waits_for_a_save_longer_than_a_share_of_the_time_between_losses(
    steps: int, step: float, between: float, cost: float
) -> None:
    every = interval(estimate(steps, step), between, cost)
    usual = min(100, max(1, steps // 3))
    assert every <= usual or every * step <= LONGEST * between


@pytest.mark.parametrize(("recipe", "step"), [(LORA, 1.8), (LORA, 0.05), (FULL, 6.0), (FULL, 0.3)])
def test_of_the_shipped_model_either_method_is_saved_within_one_percent(recipe: Recipe, step: float) -> None:
    every = interval(estimate(100_000, step), HOUR, expected_cost(recipe))
    assert expected_cost(recipe) / (every * step) <= SHARE


def test_what_was_measured_of_both_methods_is_what_is_expected() -> None:
    """Processor seconds of the thread and the time training stood still: docs, benchmarks."""
    assert expected_cost(LORA) == pytest.approx(0.14 + 0.04, rel=0.1)
    assert expected_cost(FULL) == pytest.approx(4.8 + 0.15, rel=0.1)


def test_a_cheap_save_comes_as_often_as_losses_ask_and_once_in_the_middle_of_a_short_run() -> None:
    assert interval(estimate(1000, 2.0), HOUR, 0.2) == round((2 * 0.2 * HOUR) ** 0.5 / 2.0)
    assert interval(estimate(1000, 0.1), 1e7, 0.001) == 100
    assert interval(estimate(30, 2.0), HOUR, 0.2) == 10
    assert interval(estimate(12, 0.5), HOUR, 0.2) == 4
    assert interval(estimate(12, 0.5), HOUR, 5.0) > 12


def test_where_hardware_vanishes_often_a_dear_save_is_made_nevertheless() -> None:
    assert interval(estimate(1000, 6.0), HOUR, 5.0) * 6.0 == pytest.approx(500, abs=6)
    assert interval(estimate(1000, 6.0), HOUR / 6, 5.0) * 6.0 == pytest.approx(150, abs=6)


def test_an_interval_grows_with_what_saves_turn_out_to_cost() -> None:
    rule = rule_for(HOUR)
    assert affordable(10, 1000, 0.0, 1.0, rule) == 10
    assert affordable(10, 1000, 0.4, 1.0, rule) == 40
    assert affordable(10, 60, 0.4, 1.0, rule) == 20
    assert affordable(10, 60, 0.6, 1.0, rule) == 60
    assert affordable(10, 1000, 100.0, 1.0, rule) == 900


def test_a_run_whose_first_save_was_dear_waits_longer_for_its_second() -> None:
    rhythm = Rhythm(4, 1000, 0, Rule(share=0.01, longest=900.0))
    assert [step for step in range(1, 6) if rhythm.due(step, 0.0, 1.0)] == [4, 5]
    rhythm.saved(4)
    assert not rhythm.due(53, 0.5, 1.0)
    assert rhythm.due(54, 0.5, 1.0)


@pytest.mark.parametrize("begun_at", [0, 4, 5, 7])
def test_without_a_rule_saves_come_at_multiples_wherever_a_run_goes_on(begun_at: int) -> None:
    rhythm = Rhythm(4, 1000, begun_at, None)
    due = []
    for step in range(begun_at + 1, 17):
        if rhythm.due(step, 1e9, 1e-9):
            rhythm.saved(step)
            due.append(step)
    assert due == [step for step in (4, 8, 12, 16) if step > begun_at]
