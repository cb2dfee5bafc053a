"""Whose turn it is."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.domain.queue import PRIORITIES, Waiting, pick
from tests.unit.scheduler.facts import AT


def waiting(job_id: str, priority: str = "medium", age: int = 0, memory: int = 1) -> Waiting:
    return Waiting(
        tenant="acme",
        job_id=job_id,
        priority=priority,
        submitted_at=AT - timedelta(seconds=age),
        memory_bytes=memory,
    )


def chosen(*jobs: Waiting, memory: int = 10) -> str | None:
    job = pick(jobs, memory)
    return job.job_id if job else None


def test_an_urgent_job_goes_before_an_older_one() -> None:
    assert chosen(waiting("old", age=99), waiting("urgent", "high")) == "urgent"


def test_among_equals_the_oldest_goes_first() -> None:
    assert chosen(waiting("young", age=1), waiting("old", age=2)) == "old"


def test_a_job_that_does_not_fit_leaves_the_device_to_the_next() -> None:
    assert chosen(waiting("large", "high", memory=11), waiting("small", "low")) == "small"


def test_nothing_that_fits_leaves_the_device_idle() -> None:
    assert chosen(waiting("large", memory=11)) is None
    assert chosen() is None


jobs = st.builds(waiting, st.uuids().map(str), st.sampled_from(PRIORITIES), st.integers(0, 1000), st.integers(0, 20))


@given(st.lists(jobs, max_size=30), st.integers(0, 20), st.randoms())
def test_the_choice_does_not_depend_on_the_order_rows_were_read_in(queue: list[Waiting], memory: int, r) -> None:  # type: ignore[no-untyped-def]
    shuffled = queue.copy()
    r.shuffle(shuffled)
    assert pick(queue, memory) == pick(shuffled, memory)


@given(st.lists(jobs, max_size=30), st.integers(0, 20))
def test_nobody_is_overtaken_by_a_less_urgent_or_younger_job(queue: list[Waiting], memory: int) -> None:
    turn = pick(queue, memory)
    for job in queue:
        if turn and job.memory_bytes <= memory:
            mine = (PRIORITIES.index(turn.priority), turn.submitted_at)
            assert mine <= (PRIORITIES.index(job.priority), job.submitted_at)
