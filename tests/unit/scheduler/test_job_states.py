"""The table of states: every state meets every fact."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import jobs, runs
from contracts.base import Event
from contracts.budgets import BudgetSet
from contracts.catalogue import heard_by
from services.scheduler.domain.job_states import FINAL, MOVES, State, move_on
from tests.unit.scheduler import facts

S = State
MINE, OTHER = "run-mine", "run-other"

FACTS: dict[str, Event] = {
    "submitted": facts.submitted(),
    "submitted what can never work": facts.submitted(preset="gigantic"),
    "cancel asked": facts.cancel_asked(),
    "pause asked": facts.pause_asked(),
    "resume asked": facts.resume_asked(),
    "has to make way": facts.stopping(MINE),
    "dataset ready": facts.ready(),
    "dataset refused": facts.refused(),
    "device offered": facts.offered(),
    "device withdrawn": facts.withdrawn(),
    "declined": facts.declined(MINE),
    "declined, another run": facts.declined(OTHER),
    "lease granted": facts.lease_granted(MINE),
    "started": facts.started(MINE),
    "started, another run": facts.started(OTHER),
    "paused": facts.paused(MINE),
    "paused, another run": facts.paused(OTHER),
    "finished": facts.finished(MINE),
    "finished, another run": facts.finished(OTHER),
    "failed": facts.failed(MINE),
    "failed, another run": facts.failed(OTHER),
}

EXPECTED: dict[tuple[State, str], tuple[State, type[Event] | None]] = (
    {
        (S.UNKNOWN, "submitted"): (S.VALIDATING, None),
        (S.UNKNOWN, "submitted what can never work"): (S.VALIDATING, None),
        (S.VALIDATING, "submitted what can never work"): (S.FAILED, jobs.JobFailed),
        (S.VALIDATING, "dataset ready"): (S.QUEUED, jobs.JobQueued),
        (S.VALIDATING, "dataset refused"): (S.FAILED, jobs.JobFailed),
        (S.QUEUED, "device offered"): (S.DISPATCHED, jobs.JobDispatched),
        (S.DISPATCHED, "declined"): (S.QUEUED, jobs.JobQueued),
        (S.RUNNING, "declined"): (S.QUEUED, jobs.JobQueued),
        (S.DISPATCHED, "started"): (S.RUNNING, None),
        (S.PAUSED, "submitted what can never work"): (S.FAILED, jobs.JobFailed),
        (S.YIELDING, "declined"): (S.QUEUED, jobs.JobQueued),
        (S.PAUSING, "declined"): (S.PAUSED, jobs.JobPaused),
        (S.UNKNOWN, "pause asked"): (S.PAUSED, jobs.JobPaused),
        (S.VALIDATING, "pause asked"): (S.PAUSED, jobs.JobPaused),
        (S.QUEUED, "pause asked"): (S.PAUSED, jobs.JobPaused),
        (S.DISPATCHED, "pause asked"): (S.PAUSING, jobs.JobStopping),
        (S.RUNNING, "pause asked"): (S.PAUSING, jobs.JobStopping),
        (S.YIELDING, "pause asked"): (S.PAUSING, jobs.JobStopping),
        (S.PAUSED, "resume asked"): (S.VALIDATING, jobs.JobResumed),
        (S.PAUSING, "resume asked"): (S.YIELDING, jobs.JobResumed),
        (S.DISPATCHED, "has to make way"): (S.YIELDING, jobs.JobStopping),
        (S.RUNNING, "has to make way"): (S.YIELDING, jobs.JobStopping),
        (S.PAUSING, "paused"): (S.PAUSED, jobs.JobPaused),
        (S.YIELDING, "paused"): (S.QUEUED, jobs.JobQueued),
    }
    | {
        (state, fact): end
        for state in (S.DISPATCHED, S.RUNNING, S.PAUSING, S.YIELDING)
        for fact, end in {"finished": (S.SUCCEEDED, jobs.JobSucceeded), "failed": (S.FAILED, jobs.JobFailed)}.items()
    }
    | {(state, "cancel asked"): (S.CANCELLED, jobs.JobCancelled) for state in set(State) - FINAL}
)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", FACTS)
def test_a_fact_moves_a_job_exactly_as_the_table_says(state: State, name: str) -> None:
    move = move_on(state, FACTS[name], MINE)
    assert (move and (move.target, move.tells)) == EXPECTED.get((state, name))


@pytest.mark.parametrize("state", [S.DISPATCHED, S.RUNNING, S.PAUSING, S.YIELDING])
def test_without_a_run_no_fact_about_a_run_counts(state: State) -> None:
    for name in ("declined", "started", "paused", "finished", "failed"):
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
    own, of_money = {jobs.JobStopping}, {BudgetSet, runs.RunCancelled}
    assert {fact.kind for fact in heard_by("scheduler")} - of_money | own == {type(fact) for fact in FACTS.values()}


def test_every_state_can_be_reached_from_the_unknown() -> None:
    reached: set[Any] = {S.UNKNOWN}
    for _ in State:
        reached |= {move.target for move in MOVES if move.sources & reached}
    assert reached == set(State)


def test_a_withdrawn_device_moves_no_job() -> None:
    assert not any(move.fact is runs.DeviceWithdrawn for move in MOVES)


@given(st.lists(st.sampled_from(sorted(FACTS))))
def test_in_any_order_a_job_ends_once_and_the_last_wish_stands(order: list[str]) -> None:
    """Wishes arrive here in the order they were made: ``queries.hear_wish`` drops one that a newer has overtaken."""
    state, told, held = S.UNKNOWN, list[type[Event] | None](), False
    for name in order:
        held = {"pause asked": True, "resume asked": False}.get(name, held)
        if move := move_on(state, FACTS[name], MINE):
            assert not (held and move.target in (S.DISPATCHED, S.RUNNING, S.QUEUED)), "a job held back goes nowhere"
            state, told = move.target, [*told, move.tells]
        assert held or state not in (S.PAUSING, S.PAUSED), "a job that was resumed waits for nobody"
        assert not held or state in FINAL | {S.PAUSING, S.PAUSED}
    assert sum(kind in (jobs.JobSucceeded, jobs.JobFailed, jobs.JobCancelled) for kind in told) == (state in FINAL)
