"""How many threads speak, told by what tokens take."""

from collections.abc import Callable

from libs.lm.pace import LATE, SOON, TRIAL, Pace

QUIET = {1: 0.011, 2: 0.008}
BUSY = {1: 0.018, 2: 0.2}


def spoken(pace: Pace, tokens: int, takes: Callable[[int], float]) -> list[int]:
    """Speak on; return by how many threads each token was spoken."""
    used = []
    for _ in range(tokens):
        used.append(pace.threads)
        pace.took(takes(pace.threads))
    return used


def test_all_threads_speak_once_they_were_faster() -> None:
    pace = Pace(2, alone=True)
    assert spoken(pace, SOON, QUIET.__getitem__) == [1] * SOON
    assert spoken(pace, TRIAL + SOON, QUIET.__getitem__) == [2] * (TRIAL + SOON)


def test_one_keeps_speaking_where_others_want_the_cores_and_trials_become_rare() -> None:
    used = spoken(Pace(2, alone=True), 10 * LATE, BUSY.__getitem__)
    assert used.count(2) < 20, "a trial is over after its first slow token"
    assert used[-LATE:].count(2) <= 1


def test_one_speaks_again_after_two_slow_tokens_and_all_when_the_cores_are_free_once_more() -> None:
    pace = Pace(2, alone=True)
    spoken(pace, 2 * SOON, QUIET.__getitem__)
    assert spoken(pace, 10, BUSY.__getitem__) == [2, 2, *[1] * 8]
    assert spoken(pace, 4 * SOON, QUIET.__getitem__)[-1] == 2


def test_a_single_slow_token_changes_nothing() -> None:
    pace = Pace(2, alone=True)
    spoken(pace, SOON + TRIAL + 8, QUIET.__getitem__)
    pace.took(0.5)
    assert spoken(pace, 8, QUIET.__getitem__) == [2] * 8


def test_a_large_model_begins_with_all() -> None:
    assert Pace(4, alone=False).threads == 4
