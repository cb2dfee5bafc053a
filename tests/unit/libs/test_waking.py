"""A call to the work loops reaches each of them, whoever heard it first."""

from libs.waking import Wake


def test_a_call_that_one_loop_heard_still_wakes_the_other() -> None:
    wake = Wake()
    first, second = wake.ear(), wake.ear()
    wake.set()
    first.clear()
    assert second.is_set()
    assert not first.is_set()
