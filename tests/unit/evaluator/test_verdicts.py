"""What may be claimed, and in which words, for better, worse, equal, unsure and forgetful models."""

import pytest

from services.evaluator.domain import words
from services.evaluator.domain.statistics import Interval, Likelihood
from services.evaluator.domain.verdicts import (
    AMBER,
    GREEN,
    RED,
    Answer,
    Score,
    judge_perplexity,
    judge_retention,
    light,
    overall,
    overall_light,
    percent,
)


def judged(gain: float, spread: float = 0.05, count: int = 12) -> Score:
    gains = [gain + spread * (n % 3 - 1) for n in range(count)]
    return judge_perplexity([Likelihood(str(n), 100, 300.0, 300.0 - 100 * g) for n, g in enumerate(gains)], seed=1)


def answered(base: int, tuned: int, asked: int = 100) -> Score:
    """The tuned model's right answers are among the base model's, or the other way round."""
    return judge_retention([Answer(str(n), "taxes", 0, int(n >= base), int(n >= tuned)) for n in range(asked)], 4, 1)


def test_better_worse_and_equal_are_called_so() -> None:
    assert [judged(gain).verdict for gain in (0.3, -0.3, 0.0)] == ["better", "worse", "no_difference"]


def test_a_gain_that_chance_could_explain_is_not_claimed() -> None:
    score = judged(0.03, spread=0.3)
    assert score.change.value > 0
    assert score.verdict == "no_difference"
    assert "includes zero" in words.sureness([score])


@pytest.mark.parametrize("count", [1, 4])
def test_too_few_conversations_claim_nothing_however_large_the_gain(count: int) -> None:
    score = judged(0.9, count=count)
    assert score.verdict == "no_difference"
    assert "too few" in score.note


def test_retention_alarms_below_ninety_five_percent() -> None:
    assert answered(60, 57).verdict == "kept"
    assert answered(60, 56).verdict == "worse"


def test_a_loss_that_may_be_chance_is_amber_and_a_sure_one_red() -> None:
    assert (light(answered(60, 56)), light(answered(60, 30))) == (AMBER, RED)


def test_a_base_model_that_guesses_is_said_to_guess() -> None:
    score = answered(27, 27)
    assert "guessing gives about 25" in score.note
    assert light(score) == AMBER
    assert "knowledge" not in words.headline([judged(0.3), score])


def test_a_base_model_without_a_right_answer_has_nothing_to_lose() -> None:
    assert answered(0, 3).note.startswith("The base model answered no question right")


@pytest.mark.parametrize(
    ("gain", "tuned", "verdict", "lamp", "says"),
    [
        (0.3, 60, "better", GREEN, "26\u00a0% better, and kept its general knowledge."),
        (0.3, 30, "mixed", RED, "better, but it lost general knowledge."),
        (0.3, 56, "mixed", AMBER, "better, but it may have lost general knowledge."),
        (0.0, 60, "no_difference", AMBER, "no difference"),
        (-0.3, 60, "worse", RED, "do not use it"),
    ],
)
def test_the_whole_is_told_in_one_sentence(gain: float, tuned: int, verdict: str, lamp: str, says: str) -> None:
    scores = [judged(gain), answered(60, tuned)]
    assert overall(scores) == verdict
    assert overall_light(scores) == lamp
    assert says in words.headline(scores)
    assert words.advice(scores)


def test_the_meaning_of_a_figure_names_its_direction() -> None:
    assert "fewer" in words.meaning(judged(0.3))
    assert "more" in words.meaning(judged(-0.3))
    score = Score(suite="perplexity", base=9.0, tuned=9.0, change=Interval(0, 0, 0), verdict="no_difference", items=12,
                  surely=False)  # fmt: skip
    assert "did not change" in words.meaning(score)


def test_shares_and_durations_are_written_for_people() -> None:
    assert (percent(0.314), percent(0.042), words.signed(-0.042)) == ("31\u00a0%", "4.2\u00a0%", "−4.2\u00a0%")
    assert words.signed(0.0) == "0.0\u00a0%"
    assert [words.lasted(each) for each in (48.2, 660, 7500)] == ["48 s", "11 min", "2 h 05 min"]
