"""Token buckets: how often somebody may call, and what they are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import TooMany
from services.gateway.domain.rates import Bucket, refilled, take, tightest
from services.gateway.limiting import Limiter, check, headers_of


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_be_used_at_once_and_then_at_the_even_rate() -> None:
    bucket = refilled(None, 60, 0.0)
    for left in reversed(range(60)):
        bucket, standing = take(bucket, 60)
        assert (standing.allowed, standing.remaining) == (True, left)
    bucket, standing = take(bucket, 60)
    assert (standing.allowed, standing.wait, standing.reset) == (False, 1.0, 60.0)
    bucket, standing = take(refilled(bucket, 60, 1.0), 60)
    assert standing.allowed
    assert not take(bucket, 60)[1].allowed


@given(st.integers(1, 500), st.lists(st.floats(0, 5), max_size=300))
def test_no_more_are_let_through_than_a_minutes_worth_and_the_rate(per_minute: int, pauses: list[float]) -> None:
    bucket: Bucket | None = None
    now, passed = 0.0, 0
    for pause in pauses:
        now += pause
        bucket, standing = take(refilled(bucket, per_minute, now), per_minute)
        passed += standing.allowed
        assert 0 <= bucket.tokens <= per_minute
    assert passed <= per_minute + now * per_minute / 60 + 1e-6


def test_a_clock_that_goes_back_gives_nothing() -> None:
    assert refilled(Bucket(1.0, 50.0), 60, 10.0).tokens == 1.0


def test_the_key_or_its_organisation_whichever_is_tighter_decides() -> None:
    limiter = Limiter(key=2, tenant=3, address=1, clock=Clock())
    assert [limiter.count(key="a", tenant="studio").remaining for _ in range(2)] == [1, 0]
    refused = limiter.count(key="a", tenant="studio")
    assert (refused.allowed, refused.limit) == (False, 2)
    assert limiter.count(key="b", tenant="studio").remaining == 0
    assert limiter.count(key="b", tenant="studio").limit == 3
    assert limiter.count(key="a", tenant="rival").limit == 2
    assert limiter.count(key="c", tenant="rival").allowed


def test_a_refused_call_costs_no_token_and_the_wait_it_names_is_enough() -> None:
    clock = Clock()
    limiter = Limiter(key=30, tenant=1000, address=1, clock=clock)
    for _ in range(30):
        limiter.count(key="a", tenant="studio")
    waits = [limiter.count(key="a", tenant="studio").wait for _ in range(5)]
    assert waits == [2.0] * 5
    with pytest.raises(TooMany) as refused:
        check(limiter.count(key="a", tenant="studio"))
    assert refused.value.after == 2.0
    clock.now += 2.0
    check(limiter.count(key="a", tenant="studio"))


def test_headers_say_limit_what_remains_and_when_it_is_whole_again() -> None:
    standing = tightest([take(refilled(None, 60, 0.0), 60)[1]])
    assert headers_of(standing) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1.000s",
    }


def test_buckets_of_those_who_left_are_forgotten() -> None:
    clock = Clock()
    limiter = Limiter(key=10, tenant=10, address=10, clock=clock)
    for number in range(10_001):
        limiter.count(address=str(number))
    clock.now += 61
    limiter.count(address="new")
    limiter.count(address="new")
    assert len(limiter._buckets) == 1
