"""What device time costs, to the millionth and the same however it is worked out."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from deploy.invariants.jobs import charge as audited
from services.scheduler.domain.estimate import Rate
from services.scheduler.domain.money import charge

YEAR = 366 * 24 * 3600 * 10**6


@given(st.integers(0, YEAR), st.integers(0, 10**9))
def test_a_charge_is_the_nearest_millionth_and_a_half_goes_to_the_even(microseconds: int, per_hour: int) -> None:
    assert charge(microseconds, per_hour) == round(Fraction(microseconds * per_hour, 3600 * 10**6))


@given(st.integers(0, YEAR), st.integers(0, 10**9))
def test_scheduler_and_auditor_agree_on_what_the_wire_carries(microseconds: int, per_hour: int) -> None:
    seconds, rate = microseconds / 10**6, per_hour / 10**6
    assert round(Rate(per_hour=rate, currency="EUR").cost(seconds) * 10**6) == audited(seconds, rate)
