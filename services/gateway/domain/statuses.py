"""What a job's status and stage are, as clients see them.

Statuses are OpenAI's: validating_files → queued → running → succeeded | failed | cancelled, and paused, which
resuming leads out of. Ours is pausing, while a run that was asked to pause still saves.
An end is an end: no fact moves a job out of it. Stages are finer and for people; they are
derived from what each service told last, so the order in which facts arrive does not matter.
"""

from typing import Any, Literal, Protocol

from contracts import evaluations, jobs, runs
from contracts.base import Event


class Row(Protocol):
    """A row of a table: values by column name."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""


FINAL = ("succeeded", "failed", "cancelled")

STATUS: dict[type[Event], str] = {
    jobs.JobQueued: "queued",
    jobs.JobDispatched: "running",
    jobs.JobPaused: "paused",
    jobs.JobSucceeded: "succeeded",
    jobs.JobFailed: "failed",
    jobs.JobCancelled: "cancelled",
}
"""The status after a fact about the job."""

PROOF_STAGE: dict[type[Event], str] = {
    evaluations.EvaluationStarted: "evaluating",
    evaluations.ReportReady: "done",
    evaluations.EvaluationFailed: "done",
}
"""The stage after a fact about the proof."""

_STAGE_OF_STATUS = {"validating_files": "validating"}


def is_final(status: str) -> bool:
    """Say whether nothing can change the status any more."""
    return status in FINAL


def run_stage(fact: runs.RunStageReached | runs.RunInterrupted | runs.RunPaused | runs.RunRecovered) -> str:
    """Return the stage a fact brings a run to."""
    match fact:
        case runs.RunStageReached():
            return fact.stage
        case runs.RunInterrupted():
            return "recovering"
        case runs.RunPaused():
            return "starting"
        case runs.RunRecovered():
            return "training"


def report_of(row: Row) -> Literal["running", "ready", "failed"] | None:
    """Return how far the report of a job's model is; ``None`` where there is no model to report on (yet)."""
    if row["status"] != "succeeded":
        return None
    if row["verdict"] is not None:
        return "ready"
    return "failed" if row["proof_stage"] == "done" else "running"


def stage_of(row: Row) -> str:
    """Return a job's stage from its status, its present run's stage and its proof's."""
    if row["status"] == "running":
        told = row["run_stage"] if row["run_stage_of"] == row["run_id"] else None
        return told or "starting"
    if row["status"] == "succeeded":
        return row["proof_stage"] or "trained"
    status: str = row["status"]
    return _STAGE_OF_STATUS.get(status, status)
