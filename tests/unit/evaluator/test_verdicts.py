"""What may be claimed, and in which words, for better, worse, equal, unsure and forgetful models."""

import pytest

from services.evaluator.domain import words
from services.evaluator.domain.statistics import Interval, Likelihood, Preference
from services.evaluator.domain.verdicts import (
    AMBER,
    GREEN,
    RED,
    Answer,
    Score,
    judge_perplexity,
    judge_preference,
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


def test_what_so_few_questions_can_tell_of_forgetting_is_said_in_shares() -> None:
    kept, lost = answered(60, 58), answered(60, 56)
    for score, end in ((kept, "some forgetting cannot be ruled out."), (lost, "the loss may be chance.")):
        low, high = (1 + each for each in (score.change.low, score.change.high))
        assert f"between {words.percent(low)} and {words.percent(high)} of its knowledge was kept: {end}" in score.note


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


def preferring(won: int, lost: int, still: int = 0) -> Score:
    """So many pairs gained by training, so many lost, and some did not move."""
    gains = [1.0] * won + [-1.0] * lost + [0.0] * still
    return judge_preference([Preference(str(at), 50.0 + each, 50.0, 40.0, 40.0) for at, each in enumerate(gains)], 1)


def test_a_model_against_itself_prefers_exactly_nothing_more() -> None:
    score = preferring(0, 0, still=12)
    assert (score.base, score.tuned, score.verdict) == (0.5, 0.5, "no_difference")
    assert (score.change.value, score.change.low, score.change.high) == (0.0, 0.0, 0.0)


def test_a_preference_is_claimed_only_where_chance_cannot_explain_it() -> None:
    assert [preferring(won, 12 - won).verdict for won in (12, 11, 7, 1, 0)] == [
        "better", "better", "no_difference", "worse", "worse",
    ]  # fmt: skip
    assert preferring(4, 0).verdict == "no_difference"
    assert "too few" in preferring(4, 0).note


@pytest.mark.parametrize("count", [5, 6, 12, 100])
def test_where_every_pair_was_won_the_interval_is_the_exact_one(count: int) -> None:
    """The true share could be as low as one with which all pairs are won in 1 of 40 tries."""
    change = preferring(count, 0).change
    assert (change.value, change.high) == (1.0, 1.0)
    assert ((change.low + 1) / 2) ** count == pytest.approx(0.025)
    assert preferring(0, count).change == Interval(-1.0, -1.0, -change.low)
    assert preferring(count, 0).verdict == ("better" if count > 5 else "no_difference")


@pytest.mark.parametrize(
    ("won", "tuned", "verdict", "lamp", "says"),
    [
        (11, 60, "better", GREEN, "In 92\u00a0% of pairs it never saw"),
        (11, 30, "mixed", RED, "prefer than the base, but it lost general knowledge."),
        (7, 60, "no_difference", AMBER, "no difference that these held-out pairs can prove"),
        (1, 60, "worse", RED, "In only 8.3\u00a0% of pairs"),
    ],
)
def test_a_preference_is_told_in_one_sentence(won: int, tuned: int, verdict: str, lamp: str, says: str) -> None:
    scores = [preferring(won, 12 - won), answered(60, tuned)]
    assert (overall(scores), overall_light(scores)) == (verdict, lamp)
    assert says in words.headline(scores)
    assert "pairs" in words.sureness(scores)
    assert f"{won} of 12 pairs" in words.meaning(scores[0])
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
