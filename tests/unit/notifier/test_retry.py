"""When a notice is tried again."""

import pytest

from services.notifier.domain.retry import Backoff


def test_waits_double_up_to_the_longest_and_then_end() -> None:
    backoff = Backoff(first=5, longest=60, tries=7, jitter=lambda: 1.0)
    assert [backoff.wait(tried) for tried in range(1, 8)] == [5, 10, 20, 40, 60, 60, None]


@pytest.mark.parametrize(("dice", "expected"), [(0.0, 10.0), (0.5, 15.0), (1.0, 20.0)])
def test_jitter_takes_away_at_most_half(dice: float, expected: float) -> None:
    assert Backoff(first=5, jitter=lambda: dice).wait(3) == expected


def test_the_other_side_may_ask_for_a_longer_wait_but_not_for_more_tries() -> None:
    assert Backoff(first=5, jitter=lambda: 1.0).wait(1, asked=30) == 30
    assert Backoff(tries=2).wait(2, asked=30) is None


def test_the_defaults_outlast_an_hour() -> None:
    backoff = Backoff(jitter=lambda: 0.0)
    waits = [backoff.wait(tried) for tried in range(1, backoff.tries)]
    assert 3600 < sum(wait for wait in waits if wait) < 2 * 3600
