"""Figures are right, intervals are honest for few examples, and nothing depends on chance but the seed."""

import math
import random

import pytest

from services.evaluator.domain.statistics import (
    Likelihood,
    bootstrap,
    expanded_tail,
    improvement,
    near_chance,
    outliers,
    perplexities,
    perplexity,
    quantile,
    retained,
    student,
)


def likelihoods(gains: list[float], tokens: int = 100) -> list[Likelihood]:
    return [Likelihood(f"ex-{n}", tokens, tokens * 3.0, tokens * (3.0 - gain)) for n, gain in enumerate(gains)]


def test_perplexity_is_the_exponent_of_the_mean_over_all_tokens() -> None:
    examples = [Likelihood("long", 300, 600.0, 300.0), Likelihood("short", 100, 400.0, 300.0)]
    assert perplexities(examples) == (pytest.approx(math.exp(2.5)), pytest.approx(math.exp(1.5)))


def test_perplexity_of_a_diverged_model_is_still_a_number() -> None:
    assert math.isfinite(perplexity(1e9, 10))


def test_perplexity_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokens"):
        perplexity(0.0, 0)


def test_the_change_is_one_minus_tuned_over_base() -> None:
    found = improvement(likelihoods([0.3] * 8), seed=1)
    assert found.value == pytest.approx(1 - math.exp(-0.3))
    assert found.low == pytest.approx(found.high)


def test_a_model_against_itself_changes_by_exactly_nothing() -> None:
    found = improvement(likelihoods([0.0] * 12), seed=1)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    examples = likelihoods([0.1, 0.4, 0.2, 0.3, 0.25, 0.0, 0.5])
    assert improvement(examples, seed=1) == improvement(examples, seed=1)
    assert improvement(examples, seed=1) != improvement(examples, seed=2)


@pytest.mark.parametrize(("freedom", "expected"), [(4, 2.776), (11, 2.201), (30, 2.042), (100, 1.984)])
def test_student_agrees_with_the_tables(freedom: int, expected: float) -> None:
    assert student(0.025, freedom) == pytest.approx(expected, abs=0.01)


def test_fewer_examples_cut_off_less_and_so_widen_the_interval() -> None:
    assert expanded_tail(5) < expanded_tail(12) < expanded_tail(1000) == pytest.approx(0.025, abs=2e-4)


def test_twelve_conversations_without_a_difference_seldom_show_one() -> None:
    chance = random.Random(3)
    claims = 0
    for trial in range(300):
        found = improvement(likelihoods([chance.gauss(0, 0.1) for _ in range(12)]), seed=trial, resamples=400)
        claims += found.low > 0 or found.high < 0
    assert claims / 300 <= 0.075


def test_retention_is_the_share_of_right_answers_kept() -> None:
    base, tuned = [True] * 40 + [False] * 60, [True] * 30 + [False] * 70
    found = retained(base, tuned, seed=1)
    assert found.value == 0.75
    assert found.low < 0.75 < found.high < 0.95


def test_a_figure_that_is_never_defined_is_refused() -> None:
    with pytest.raises(ValueError, match="not defined"):
        bootstrap(3, lambda drawn: None, seed=1)


def test_guessing_is_told_from_knowing() -> None:
    assert near_chance(32, 100, 0.25)
    assert not near_chance(33, 100, 0.25)


def test_quantiles_interpolate() -> None:
    assert quantile([0.0, 1.0, 2.0, 3.0], 0.5) == 1.5


def test_what_stands_apart_is_found_and_equal_values_are_not() -> None:
    assert outliers([0.30, 0.31, 0.29, 0.32, 0.30, -0.9]) == [5]
    assert outliers([0.3] * 6) == []
