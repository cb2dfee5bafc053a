"""The table of states: every state meets every fact."""

from typing import Any

import pytest

from contracts import jobs, runs
from contracts.base import Event
from contracts.catalogue import heard_by
from services.scheduler.domain.job_states import FINAL, MOVES, State, move_on
from tests.unit.scheduler import facts

S = State
MINE, OTHER = "run-mine", "run-other"

FACTS: dict[str, Event] = {
    "submitted": facts.submitted(),
    "submitted what can never work": facts.submitted(preset="gigantic"),
    "cancel asked": facts.cancel_asked(),
    "dataset ready": facts.ready(),
    "dataset refused": facts.refused(),
    "device offered": facts.offered(),
    "device withdrawn": facts.withdrawn(),
    "declined": facts.declined(MINE),
    "declined, another run": facts.declined(OTHER),
    "started": facts.started(MINE),
    "started, another run": facts.started(OTHER),
    "finished": facts.finished(MINE),
    "finished, another run": facts.finished(OTHER),
    "failed": facts.failed(MINE),
    "failed, another run": facts.failed(OTHER),
}

EXPECTED: dict[tuple[State, str], tuple[State, type[Event] | None]] = {
    (S.UNKNOWN, "submitted"): (S.VALIDATING, None),
    (S.UNKNOWN, "submitted what can never work"): (S.VALIDATING, None),
    (S.VALIDATING, "submitted what can never work"): (S.FAILED, jobs.JobFailed),
    (S.VALIDATING, "dataset ready"): (S.QUEUED, jobs.JobQueued),
    (S.VALIDATING, "dataset refused"): (S.FAILED, jobs.JobFailed),
    (S.QUEUED, "device offered"): (S.DISPATCHED, jobs.JobDispatched),
    (S.DISPATCHED, "declined"): (S.QUEUED, jobs.JobQueued),
    (S.DISPATCHED, "started"): (S.RUNNING, None),
    (S.DISPATCHED, "finished"): (S.SUCCEEDED, jobs.JobSucceeded),
    (S.RUNNING, "finished"): (S.SUCCEEDED, jobs.JobSucceeded),
    (S.DISPATCHED, "failed"): (S.FAILED, jobs.JobFailed),
    (S.RUNNING, "failed"): (S.FAILED, jobs.JobFailed),
    (S.UNKNOWN, "cancel asked"): (S.CANCELLED, jobs.JobCancelled),
    (S.VALIDATING, "cancel asked"): (S.CANCELLED, jobs.JobCancelled),
    (S.QUEUED, "cancel asked"): (S.CANCELLED, jobs.JobCancelled),
    (S.DISPATCHED, "cancel asked"): (S.CANCELLED, jobs.JobCancelled),
    (S.RUNNING, "cancel asked"): (S.CANCELLED, jobs.JobCancelled),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", FACTS)
def test_a_fact_moves_a_job_exactly_as_the_table_says(state: State, name: str) -> None:
    move = move_on(state, FACTS[name], MINE)
    assert (move and (move.target, move.tells)) == EXPECTED.get((state, name))


@pytest.mark.parametrize("state", [S.DISPATCHED, S.RUNNING])
def test_without_a_run_no_fact_about_a_run_counts(state: State) -> None:
    for name in ("declined", "started", "finished", "failed"):
        assert move_on(state, FACTS[name], None) is None


def test_nothing_leaves_an_end() -> None:
    assert all(not (move.sources & FINAL) for move in MOVES)


def test_each_end_is_told_by_its_own_fact() -> None:
    ends = {(move.target, move.tells) for move in MOVES if move.target in FINAL}
    assert ends == {
        (S.SUCCEEDED, jobs.JobSucceeded),
        (S.FAILED, jobs.JobFailed),
        (S.CANCELLED, jobs.JobCancelled),
    }


def test_every_fact_the_scheduler_hears_was_met_above() -> None:
    assert {fact.kind for fact in heard_by("scheduler")} == {type(fact) for fact in FACTS.values()}


def test_every_state_can_be_reached_from_the_unknown() -> None:
    reached: set[Any] = {S.UNKNOWN}
    for _ in State:
        reached |= {move.target for move in MOVES if move.sources & reached}
    assert reached == set(State)


def test_a_withdrawn_device_moves_no_job() -> None:
    assert not any(move.fact is runs.DeviceWithdrawn for move in MOVES)
