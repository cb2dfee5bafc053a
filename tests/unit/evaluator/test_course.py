"""A bar over a whole evaluation moves on through its suites, and says how long the rest takes."""

import pytest

from services.evaluator.domain.course import Course, reading, writing


def test_a_share_grows_through_the_suites_by_their_work_and_ends_at_one() -> None:
    course = Course({"perplexity": 60.0, "retention": 30.0, "replies": 10.0}, began=0.0)
    looks = [("perplexity", 1, 2), ("perplexity", 2, 2), ("retention", 0, 4), ("retention", 2, 4), ("replies", 5, 5)]
    assert [course.share(*look) for look in looks] == [0.3, 0.6, 0.6, 0.75, 1.0]


def test_what_is_left_follows_from_what_was_done() -> None:
    course = Course({"perplexity": 1.0}, began=100.0)
    assert course.left(0.25, now=110.0) == pytest.approx(30.0)
    assert course.left(1.0, now=140.0) == 0.0


def test_a_written_token_weighs_more_than_a_read_one_and_no_text_more_than_is_read() -> None:
    assert writing(10, 96) > reading([["a" * 4 * 960]], 2048)
    assert reading([["a" * 100_000, "Yes."], ["", "Rent"]], 2048) == 2048 + 5 + 6
