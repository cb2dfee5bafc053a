"""The life of a job, in one table: which fact moves it from where to where, under which guard, telling what.

Facts come at least once and in any order; whatever the table does not list changes nothing. The
ends are in no row's ``sources``, so a job ends once and whichever end is written first stands.
"""

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from contracts.base import Event
from contracts.datasets import DatasetReady, DatasetRefused
from contracts.jobs import (
    JobCancelAsked,
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobPauseAsked,
    JobPaused,
    JobQueued,
    JobResumeAsked,
    JobResumed,
    JobStopping,
    JobSubmitted,
    JobSucceeded,
)
from contracts.runs import DeviceOffered, DispatchDeclined, RunFailed, RunFinished, RunPaused, RunStarted
from services.scheduler.domain.recipe import refusal_of


class State(StrEnum):
    """Where a job stands. ``UNKNOWN`` is a job whose submission has not arrived yet.

    Both ``PAUSING`` and ``YIELDING`` wait for the trainer to let the device go; then the one is paused, the
    other goes back to its place in the queue.
    """

    UNKNOWN = "unknown"
    VALIDATING = "validating_files"
    QUEUED = "queued"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    PAUSING = "pausing"
    YIELDING = "yielding"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
WAITING = frozenset({State.UNKNOWN, State.VALIDATING, State.QUEUED})
AT_WORK = frozenset({State.DISPATCHED, State.RUNNING})
LETTING_GO = frozenset({State.PAUSING, State.YIELDING})
ON_DEVICE = AT_WORK | LETTING_GO

Guard = Callable[[str | None, Event], bool]


def always(run_id: str | None, fact: Event) -> bool:
    """No condition."""
    return True


def same_run(run_id: str | None, fact: Event) -> bool:
    """The fact is about the run the job was last dispatched as, not one that was declined before."""
    return run_id is not None and run_id == getattr(fact, "run_id", None)


def recipe_refused(run_id: str | None, fact: Event) -> bool:
    """What was asked for can never be trained."""
    return isinstance(fact, JobSubmitted) and refusal_of(fact) is not None


def decided_by_plan(run_id: str | None, fact: Event) -> bool:
    """No fact says whether a job fits its data, a device and its budget; who has looked takes the move by its name."""
    return False


class Move(Struct, frozen=True):
    """On ``fact``, a job in one of ``sources`` for which ``guard`` holds enters ``target`` and ``tells``."""

    sources: frozenset[State]
    fact: type[Event]
    target: State
    tells: type[Event] | None = None
    guard: Guard = always


HOPELESS = Move(frozenset({State.VALIDATING}), DatasetReady, State.FAILED, JobFailed, decided_by_plan)
"""Its method does not learn from such data, no device there ever was could hold it with every weight trained, or its
budget pays for no training at all."""

MOVES: tuple[Move, ...] = (
    Move(frozenset({State.UNKNOWN}), JobSubmitted, State.VALIDATING),
    Move(frozenset({State.VALIDATING, State.PAUSED}), JobSubmitted, State.FAILED, JobFailed, recipe_refused),
    Move(frozenset({State.VALIDATING}), DatasetRefused, State.FAILED, JobFailed),
    HOPELESS,
    Move(frozenset({State.VALIDATING}), DatasetReady, State.QUEUED, JobQueued),
    Move(frozenset({State.QUEUED}), DeviceOffered, State.DISPATCHED, JobDispatched),
    Move(AT_WORK | {State.YIELDING}, DispatchDeclined, State.QUEUED, JobQueued, same_run),
    Move(frozenset({State.PAUSING}), DispatchDeclined, State.PAUSED, JobPaused, same_run),
    Move(frozenset({State.DISPATCHED}), RunStarted, State.RUNNING, None, same_run),
    Move(WAITING, JobPauseAsked, State.PAUSED, JobPaused),
    Move(AT_WORK | {State.YIELDING}, JobPauseAsked, State.PAUSING, JobStopping),
    Move(frozenset({State.PAUSED}), JobResumeAsked, State.VALIDATING, JobResumed),
    Move(frozenset({State.PAUSING}), JobResumeAsked, State.YIELDING, JobResumed),
    Move(AT_WORK, JobStopping, State.YIELDING, JobStopping),
    Move(frozenset({State.PAUSING}), RunPaused, State.PAUSED, JobPaused, same_run),
    Move(frozenset({State.YIELDING}), RunPaused, State.QUEUED, JobQueued, same_run),
    Move(ON_DEVICE, RunFinished, State.SUCCEEDED, JobSucceeded, same_run),
    Move(ON_DEVICE, RunFailed, State.FAILED, JobFailed, same_run),
    Move(frozenset(State) - FINAL, JobCancelAsked, State.CANCELLED, JobCancelled),
)
"""``JobStopping`` leads to ``YIELDING`` when the scheduler itself tells it, to make way for a more urgent job.

A job that was paused keeps its run: the late ``RunStarted`` of an earlier dispatch may find it dispatched again, and
``DispatchDeclined`` then finds it running. Each dispatch is either declined or taken, so a decline is never an old one.
"""


def move_on(state: State, fact: Event, run_id: str | None = None) -> Move | None:
    """Return the move a fact makes a job take, or ``None`` where it changes nothing."""
    return next(
        (move for move in MOVES if state in move.sources and isinstance(fact, move.fact) and move.guard(run_id, fact)),
        None,
    )
