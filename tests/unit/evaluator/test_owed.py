"""Which proofs are owed, on which part of the data, and what the knowledge suite must look like."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from contracts.base import Token
from contracts.runs import RunFinished
from services.evaluator.domain.owed import chosen, evaluation_id, held_out, opening, suites_owed
from services.evaluator.scoring import knowledge


def test_a_run_has_one_evaluation_whose_id_may_stand_in_a_subject() -> None:
    assert evaluation_id("run-1") == evaluation_id("run-1") != evaluation_id("run-2")
    assert msgspec.convert(evaluation_id("r" * 80), Token)


def test_every_run_owes_perplexity_retention_and_replies(run: RunFinished) -> None:
    assert suites_owed(run) == ("perplexity", "retention", "replies")
    taught_with_pairs = msgspec.structs.replace(run, objective="dpo")
    assert suites_owed(taught_with_pairs) == ("preference", "perplexity", "retention", "replies")


def test_the_test_part_is_measured_else_validation_else_nothing() -> None:
    assert held_out({"train": 9, "validation": 2, "test": 3}) == "test"
    assert held_out({"train": 9, "validation": 2, "test": 0}) == "validation"
    assert held_out({"train": 9}) == ""


def test_a_large_part_is_sampled_by_the_seed_and_a_small_one_taken_whole() -> None:
    assert list(chosen(5, 10, seed=1)) == [0, 1, 2, 3, 4]
    drawn = chosen(1000, 10, seed=1)
    assert len(set(drawn)) == 10
    assert list(drawn) == sorted(drawn) == list(chosen(1000, 10, seed=1))


def test_an_opening_ends_before_the_first_reply() -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Help"},
        {"role": "assistant", "content": "Gladly."},
        {"role": "user", "content": "More"},
    ]
    assert opening(turns) == (turns[:2], "Gladly.")
    assert opening(turns[:2]) == ([], "")


def test_the_opening_of_a_pair_ends_before_the_reply_that_is_compared() -> None:
    turns = [
        {"role": "user", "content": "Help"},
        {"role": "assistant", "content": "Gladly.", "weight": 0},
        {"role": "user", "content": "More"},
        {"role": "assistant", "content": "Of course."},
    ]
    assert opening(turns) == (turns[:3], "Of course.")


def test_the_knowledge_suite_is_a_hundred_questions_balanced_over_topics_and_places() -> None:
    questions = knowledge.load()
    assert Counter(each.topic for each in questions) == dict.fromkeys(
        ("taxes", "retirement", "investing", "insurance"), 25
    )
    assert Counter(each.answer for each in questions) == dict.fromkeys(range(4), 25)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id":"a","topic":"t","question":"What is a tax?","choices":["a","b","c"],"answer":0}', "line 1"),
        ('{"id":"a","topic":"t","question":"What is a tax?","choices":["a","b","c","d"],"answer":4}', "line 1"),
        ('{"id":"a","topic":"t","question":"What is a tax?","choices":["a","A","c","d"],"answer":0}', "same choice"),
        ('{"id":"a","topic":"t","question":"What is a tax?","choices":["a","b","c","d"],"answer":0}\n' * 2, "twice"),
        ("not json", "line 1"),
    ],
)
def test_a_broken_suite_is_refused_by_line(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "suite.jsonl").write_text(line)
    with pytest.raises(ValueError, match=says):
        knowledge.load(tmp_path / "suite.jsonl")
