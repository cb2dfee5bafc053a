"""Which token is drawn, and what is told of its likelihood."""

import numpy as np
import pytest

from libs.lm.sampling import drawn, likelihoods

SCORES = np.log(np.array([0.1, 0.5, 0.25, 0.15], np.float32))


def tokens(count: int, *, temperature: float = 1.0, top_p: float = 1.0) -> list[int]:
    chance = np.random.default_rng(1)
    return [drawn(SCORES, temperature=temperature, top_p=top_p, chance=chance) for _ in range(count)]


def test_the_likeliest_is_said_at_temperature_zero() -> None:
    assert tokens(3, temperature=0.0) == [1, 1, 1]


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    found = np.bincount(tokens(4000), minlength=4) / 4000
    assert found == pytest.approx([0.1, 0.5, 0.25, 0.15], abs=0.03)
    sharper = np.bincount(tokens(4000, temperature=0.5), minlength=4) / 4000
    assert sharper[1] == pytest.approx(0.25 / (0.01 + 0.25 + 0.0625 + 0.0225), abs=0.03)


@pytest.mark.parametrize(("top_p", "left"), [(0.0, {1}), (0.5, {1}), (0.51, {1, 2}), (0.76, {1, 2, 3})])
def test_the_least_likely_are_left_out(top_p: float, left: set[int]) -> None:
    assert set(tokens(300, top_p=top_p)) == left


def test_log_probabilities_are_natural_and_the_likeliest_come_first() -> None:
    logprob, top = likelihoods(SCORES + 3, 3, 2)
    assert logprob == pytest.approx(np.log(0.15))
    assert [token for token, _ in top] == [1, 2]
    assert [each for _, each in top] == pytest.approx([np.log(0.5), np.log(0.25)])
    assert likelihoods(SCORES, 0, 0)[1] == []
