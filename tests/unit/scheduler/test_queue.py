"""Whose turn it is."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.domain.queue import PRIORITIES, AtWork, Room, Waiting, making_way, more_urgent_than, pick, turns
from tests.unit.scheduler.facts import AT

Features = tuple[str, ...]


def waiting(job_id: str, priority: str = "medium", age: int = 0, memory: int = 1, needs: Features = ()) -> Waiting:
    return Waiting(
        tenant="acme",
        job_id=job_id,
        priority=priority,
        submitted_at=AT - timedelta(seconds=age),
        memory_bytes=memory,
        needs=needs,
    )


def chosen(*jobs: Waiting, memory: int = 10, features: Features = ()) -> str | None:
    turn = pick(jobs, Room(memory, features))
    return turn.job_id if turn else None


def test_an_urgent_job_goes_before_an_older_one() -> None:
    assert chosen(waiting("old", age=99), waiting("urgent", "high")) == "urgent"


def test_among_equals_the_oldest_goes_first() -> None:
    assert chosen(waiting("young", age=1), waiting("old", age=2)) == "old"


def test_a_job_that_does_not_fit_leaves_the_device_to_the_next() -> None:
    assert chosen(waiting("large", "high", memory=11), waiting("small", "low")) == "small"


def test_nothing_that_fits_leaves_the_device_idle() -> None:
    assert chosen(waiting("large", memory=11)) is None
    assert chosen() is None


def test_a_device_that_does_not_understand_a_recipe_goes_to_the_next_job() -> None:
    pairs, plain = waiting("pairs", "high", needs=("dpo",)), waiting("plain", "low")
    assert chosen(pairs, plain) == chosen(pairs, plain, features=("nf4",)) == "plain"
    assert chosen(pairs, plain, features=("dpo", "nf4")) == "pairs"
    assert chosen(pairs) is None


jobs = st.builds(waiting, st.uuids().map(str), st.sampled_from(PRIORITIES), st.integers(0, 1000), st.integers(0, 20))


@given(st.lists(jobs, max_size=30), st.integers(0, 20), st.randoms())
def test_the_choice_does_not_depend_on_the_order_rows_were_read_in(queue: list[Waiting], memory: int, r) -> None:  # type: ignore[no-untyped-def]
    shuffled = queue.copy()
    r.shuffle(shuffled)
    assert pick(queue, Room(memory)) == pick(shuffled, Room(memory))


@given(st.lists(jobs, max_size=30), st.integers(0, 20))
def test_nobody_is_overtaken_by_a_less_urgent_or_younger_job(queue: list[Waiting], memory: int) -> None:
    turn = pick(queue, Room(memory))
    for job in queue:
        if turn and job.memory_bytes <= memory:
            mine = (PRIORITIES.index(turn.priority), turn.submitted_at)
            assert mine <= (PRIORITIES.index(job.priority), job.submitted_at)


def at_work(job_id: str, priority: str = "low", started: int = 0, memory: int = 10, features: Features = ()) -> AtWork:
    return AtWork(
        tenant="acme",
        job_id=job_id,
        priority=priority,
        started_at=AT + timedelta(seconds=started),
        memory_bytes=memory,
        features=features,
    )


def moved(queue: list[Waiting], busy: list[AtWork], coming: tuple[int, ...] = ()) -> list[str]:
    return [job.job_id for job in making_way(queue, busy, [Room(each) for each in coming])]


def test_the_least_urgent_job_makes_way_among_equals_the_one_that_started_last() -> None:
    busy = [at_work("medium", "medium", 9), at_work("first", started=1), at_work("last", started=2)]
    assert moved([waiting("urgent", "high")], busy) == ["last"]


def test_nobody_makes_way_for_an_equal() -> None:
    assert moved([waiting("new", "medium", age=99)], [at_work("old", "medium")]) == []


def test_only_a_device_that_is_large_enough_is_let_go() -> None:
    busy = [at_work("small", memory=2), at_work("large", "medium", memory=10)]
    assert moved([waiting("urgent", "high", memory=5)], busy) == ["large"]
    assert moved([waiting("huge", "high", memory=50)], busy) == []


def test_only_a_device_that_understands_the_recipe_is_let_go() -> None:
    busy = [at_work("old", started=9), at_work("new", "medium", features=("dpo",))]
    assert moved([waiting("pairs", "high", needs=("dpo",))], busy) == ["new"]
    assert moved([waiting("pairs", "high", needs=("dpo",))], busy[:1]) == []


def test_a_device_on_its_way_serves_a_waiting_job_and_the_next_one_needs_another() -> None:
    busy = [at_work("one"), at_work("two", started=1)]
    assert moved([waiting("urgent", "high")], busy, (10,)) == []
    assert moved([waiting("urgent", "high", memory=5)], busy, (4,)) == ["two"]
    assert moved([waiting("urgent", "high"), waiting("also", "high", age=1)], busy, (10,)) == ["two"]


def test_only_what_is_above_the_least_urgent_job_at_work_is_worth_looking_at() -> None:
    assert more_urgent_than([]) == more_urgent_than(["high"]) == []
    assert more_urgent_than(["high", "medium"]) == ["high"]
    assert more_urgent_than(["low", "high"]) == ["high", "medium"]


busy_jobs = st.builds(
    at_work, st.uuids().map(str), st.sampled_from(PRIORITIES), st.integers(0, 1000), st.integers(0, 20)
)


@given(st.lists(jobs, max_size=8), st.lists(busy_jobs, max_size=8), st.lists(st.integers(0, 20), max_size=3))
def test_every_job_that_makes_way_does_so_for_one_that_is_more_urgent_and_fits(
    queue: list[Waiting], busy: list[AtWork], coming: list[int]
) -> None:
    chosen = making_way(queue, busy, [Room(each) for each in coming])
    assert len({job.job_id for job in chosen}) == len(chosen) <= len(queue)
    for job in chosen:
        assert any(
            PRIORITIES.index(each.priority) < PRIORITIES.index(job.priority) and each.memory_bytes <= job.memory_bytes
            for each in queue
        )


@given(st.lists(jobs, max_size=30, unique_by=lambda job: job.job_id), st.lists(st.integers(0, 20), max_size=10))
def test_many_devices_at_once_get_what_they_would_get_one_after_another(queue: list[Waiting], sizes: list[int]) -> None:
    left, one_by_one = queue.copy(), []
    for index, memory in enumerate(sizes):
        if turn := pick(left, Room(memory)):
            left.remove(turn)
            one_by_one.append((index, turn))
    assert turns(queue, [Room(size) for size in sizes]) == one_by_one
