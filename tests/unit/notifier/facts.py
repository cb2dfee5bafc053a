"""The facts people are told of, with what tests want to vary."""

from datetime import UTC, datetime
from typing import Any

from contracts.budgets import BudgetThresholdReached
from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobCancelled, JobFailed, JobSucceeded
from contracts.people import MemberInvited
from contracts.runs import RunRemarked
from contracts.trackers import TrackerRemarked

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SHA = "a" * 64


def succeeded(**changes: Any) -> JobSucceeded:
    given: dict[str, Any] = {
        "run_id": "run-1",
        "model": "ft:SmolLM2-135M-Instruct:acme:coach:7p4xure2",
        "trained_tokens": 18_250,
        "seconds": 662.0,
        "cost": 0.0123,
    }
    return JobSucceeded(**(_job() | given | changes))


def failed(**changes: Any) -> JobFailed:
    given = {"reason": "out_of_memory", "message": "The machine ran out of memory.", "fix": "Choose a smaller rank."}
    return JobFailed(**(_job() | given | changes))


def remarked(**changes: Any) -> RunRemarked:
    given = {"run_id": "run-1", "step": 12, "code": "loss_spike", "level": "warn", "message": "The loss jumped."}
    return RunRemarked(**(_job() | given | changes))


def untracked(**changes: Any) -> TrackerRemarked:
    given = {"tracker": "wandb", "code": "refused", "level": "warn", "message": "It refuses the key."}
    return TrackerRemarked(**(_job() | given | changes))


def month_spent(percent: int = 80, **changes: Any) -> BudgetThresholdReached:
    given: dict[str, Any] = {"month": "2026-11", "percent": percent, "limit": 500.0, "spent": 401.25}
    return BudgetThresholdReached(**({"tenant": "acme", "at": AT} | given | changes))


def invited(**changes: Any) -> MemberInvited:
    return MemberInvited(**({"tenant": "acme", "at": AT, "version": 3, "member_id": "member-ana"} | changes))


def cancelled(**changes: Any) -> JobCancelled:
    return JobCancelled(**(_job() | changes))


def reported(**changes: Any) -> ReportReady:
    given = {
        "evaluation_id": "eval-1",
        "pdf_uri": "acme/reports/eval-1/report.pdf",
        "html_uri": "acme/reports/eval-1/report.html",
        "json_uri": "acme/reports/eval-1/report.json",
        "pdf_sha256": SHA,
        "html_sha256": SHA,
        "json_sha256": SHA,
        "verdict": "better",
        "headline": "Perplexity on unseen conversations fell by 31 % (95 % interval 27 to 35 %).",
    }
    return ReportReady(**(_job() | given | changes))


def unreported(**changes: Any) -> EvaluationFailed:
    given = {"evaluation_id": "eval-1", "reason": "disk_full", "message": "There was no room for the report."}
    return EvaluationFailed(**(_job() | given | changes))


def _job() -> dict[str, Any]:
    return {"tenant": "acme", "at": AT, "job_id": "ftjob-1"}
