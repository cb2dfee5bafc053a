"""When a silent process is taken for hung, and what of its stacks is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.domain.hanging import KEPT_FRAMES, TIMES, USUAL, Patience, Stillness, innermost

SHORT = Patience(least=10.0, first=30.0)


def silent_for(still: Stillness, seconds: float) -> bool:
    """Let time pass a second at a time; whether it is taken for hung."""
    return any(still.passed(1.0) for _ in range(int(seconds)))


def test_before_its_first_step_a_process_may_read_and_load_for_long() -> None:
    still = Stillness(SHORT)
    assert not silent_for(still, 30)
    still.heard(working=False)
    assert not silent_for(still, 30)
    assert silent_for(still, 1)


def test_in_training_silence_is_measured_by_the_longest_before() -> None:
    still = Stillness(SHORT)
    still.heard(working=True)
    assert not silent_for(still, 2)
    still.heard(working=True)
    assert still.limit == TIMES * 2
    assert not silent_for(still, 40)
    assert silent_for(still, 1)


def test_quick_steps_make_nobody_impatient_and_slow_loading_nobody_lenient() -> None:
    still = Stillness(SHORT)
    assert not silent_for(still, 29)
    still.heard(working=True)
    still.heard(working=True)
    assert still.limit == SHORT.least


def test_after_the_last_step_writing_the_result_takes_what_it_takes() -> None:
    still = Stillness(SHORT)
    still.heard(working=True)
    still.heard(working=False)
    assert still.limit == SHORT.first


@given(st.lists(st.floats(0, 29), max_size=50))
def test_steps_no_longer_than_the_least_patience_are_never_taken_for_hung(silences: list[float]) -> None:
    still = Stillness(Patience(least=30.0, first=30.0))
    for seconds in silences:
        assert not still.passed(seconds)
        still.heard(working=True)


def test_nobody_waits_less_than_ten_minutes_unasked() -> None:
    assert USUAL.least == 600
    assert USUAL.first > USUAL.least


@pytest.mark.parametrize("frames", [3, KEPT_FRAMES, 80])
def test_of_each_stack_the_innermost_frames_are_kept(frames: int) -> None:
    stack = [f'  File "/lib/{number}.py", line {number} in f{number}' for number in range(frames)]
    words = ["Loading weights", "Thread 0x01 (most recent call first):", *stack]
    words += ["", "Current thread 0x02 (most recent call first):", *stack]
    kept = innermost("\n".join(words)).splitlines()
    assert kept[-min(frames, KEPT_FRAMES) :] == stack[:KEPT_FRAMES]
    assert kept[0] == "Loading weights"
    assert len(kept) == 4 + 2 * min(frames, KEPT_FRAMES)
