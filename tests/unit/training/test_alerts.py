"""What is worth a word while training goes on, and what is ordinary scatter."""

import random

import pytest

from services.trainer.domain.time_limit import LEAST, TOLERANCE, seconds_left
from services.trainer.training.alerts import Alerts, ended_early, short_of_memory
from services.trainer.training.metrics import Point


def told(losses: list[float]) -> list[tuple[int, str]]:
    """Return step and code of everything said over a run with these losses."""
    alerts, points, found = Alerts(len(losses)), [], []
    for step, loss in enumerate(losses, 1):
        rest = {"lr": 1e-4, "grad_norm": 1.0, "token_accuracy": 0.5, "tokens": step, "trained_tokens": step}
        points.append(Point(step=step, train_loss=loss, eval_loss=None, **rest))
        found += [(each.step, each.code) for each in alerts.after(points)]
    return found


def falling(steps: int, seed: int = 1, scatter: float = 0.15) -> list[float]:
    chance = random.Random(seed)
    return [2.0 + 1.5 * 0.97**step + chance.gauss(0, scatter) for step in range(steps)]


@pytest.mark.parametrize("seed", range(40))
def test_an_ordinary_curve_is_worth_no_word(seed: int) -> None:
    assert told(falling(200, seed)) == []


def test_a_jump_is_told_once_and_again_only_after_a_while() -> None:
    losses = falling(100)
    for step in (50, 52, 90):
        losses[step - 1] = 9.0
    assert told(losses) == [(50, "loss_spike"), (90, "loss_spike")]


def test_a_loss_that_does_not_fall_is_told_half_way() -> None:
    flat = [3.0 + 0.01 * (step % 3) for step in range(100)]
    assert told(flat) == [(50, "not_converging")]


@pytest.mark.parametrize("steps", [1, 5, 39])
def test_a_short_run_is_not_judged(steps: int) -> None:
    assert told([3.0] * steps) == []


def test_memory_that_ran_out_in_an_evaluation_is_told_by_what_came_of_it() -> None:
    assert short_of_memory(4, {"eval_loss": 2.0}) is None
    smaller = short_of_memory(4, {"eval_loss": 2.0, "eval_smaller": 384})
    skipped = short_of_memory(4, {"eval_smaller": 128})
    assert smaller
    assert skipped
    assert (smaller.level, skipped.level) == ("info", "warn")
    assert "384 tokens" in smaller.message
    assert (skipped.step, skipped.code) == (4, "evaluation_skipped")


def test_the_end_of_time_says_how_far_it_came() -> None:
    assert "step 36 of 90" in ended_early(36, 90, "time_limit").message


def test_a_budget_that_is_spent_says_how_to_go_on() -> None:
    told = ended_early(36, 90, "budget")
    assert (told.code, told.level, "a larger budget" in told.message) == ("budget_100", "warn", True)


def test_time_spent_by_earlier_attempts_counts_and_some_is_always_left() -> None:
    assert seconds_left(100.0, 0.0) == 100.0 * TOLERANCE
    assert seconds_left(100.0, 60.0) == 100.0 * TOLERANCE - 60.0
    assert seconds_left(100.0, 1e6) == LEAST
    assert seconds_left(0.0, 1e6) == 0.0
