"""The facts of one job, with what tests want to vary."""

from datetime import UTC, datetime
from typing import Any

from contracts.budgets import BudgetSet
from contracts.datasets import DatasetReady, DatasetRefused
from contracts.jobs import JobCancelAsked, JobPauseAsked, JobResumeAsked, JobStopping, JobSubmitted, Overrides
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import (
    DeviceOffered,
    DeviceWithdrawn,
    DispatchDeclined,
    LeaseGranted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunPaused,
    RunStarted,
)

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SHA = "a" * 64


def submitted(**changes: Any) -> JobSubmitted:
    given: dict[str, Any] = {
        "tenant": "acme",
        "at": AT,
        "version": 1,
        "job_id": "ftjob-1",
        "dataset_id": "dataset-1",
        "training_file": "file-1",
        "base_model": SHIPPED_MODEL,
        "preset": "quick",
        "overrides": Overrides(),
        "seed": 7,
    }
    return JobSubmitted(**(given | changes))


def ready(**changes: Any) -> DatasetReady:
    given: dict[str, Any] = {
        "tenant": "acme",
        "at": AT,
        "dataset_id": "dataset-1",
        "digest": SHA,
        "uri": "acme/datasets/a",
        "base_model": SHIPPED_MODEL,
        "format": "messages",
        "train_examples": 100,
        "validation_examples": 12,
        "test_examples": 12,
        "train_tokens": 15_300,
        "trained_tokens": 9_000,
        "truncated": 0,
    }
    return DatasetReady(**(given | changes))


def refused(**changes: Any) -> DatasetRefused:
    given: dict[str, Any] = {
        "tenant": "acme",
        "at": AT,
        "dataset_id": "dataset-1",
        "code": "no_examples",
        "message": "No line of the file can train.",
    }
    return DatasetRefused(**(given | changes))


def offered(**changes: Any) -> DeviceOffered:
    given: dict[str, Any] = {
        "at": AT,
        "version": 1,
        "device_id": "cpu-0",
        "offer_id": "offer-1",
        "kind": "Xeon",
        "precision": "bfloat16",
        "threads": 2,
        "memory_bytes": 24_000_000_000,
        "flops": 2.7e12,
    }
    return DeviceOffered(**(given | changes))


def withdrawn(**changes: Any) -> DeviceWithdrawn:
    given: dict[str, Any] = {"at": AT, "version": 2, "device_id": "cpu-0", "offer_id": "offer-1"}
    return DeviceWithdrawn(**(given | changes))


def cancel_asked(**changes: Any) -> JobCancelAsked:
    return JobCancelAsked(**({"tenant": "acme", "at": AT, "job_id": "ftjob-1"} | changes))


def pause_asked(version: int = 2, **changes: Any) -> JobPauseAsked:
    return JobPauseAsked(**({"tenant": "acme", "at": AT, "version": version, "job_id": "ftjob-1"} | changes))


def resume_asked(version: int = 3, **changes: Any) -> JobResumeAsked:
    return JobResumeAsked(**({"tenant": "acme", "at": AT, "version": version, "job_id": "ftjob-1"} | changes))


def stopping(run_id: str, **changes: Any) -> JobStopping:
    return JobStopping(**(_run(run_id) | {"offer_id": "offer-1", "why": "preempt"} | changes))


def paused(run_id: str, **changes: Any) -> RunPaused:
    given = {"step": 24, "lost_steps": 0, "why": "pause", "device_seconds": 30.0}
    return RunPaused(**(_run(run_id) | given | changes))


def declined(run_id: str, **changes: Any) -> DispatchDeclined:
    return DispatchDeclined(**(_run(run_id) | {"device_id": "cpu-0"} | changes))


def lease_granted(run_id: str, **changes: Any) -> LeaseGranted:
    return LeaseGranted(**(_run(run_id) | {"device_id": "cpu-0", "attempt": 1, "fence": 1} | changes))


def started(run_id: str, **changes: Any) -> RunStarted:
    return RunStarted(**(_run(run_id) | {"device_id": "cpu-0", "fence": 1} | changes))


def failed(run_id: str, **changes: Any) -> RunFailed:
    given = {
        "reason": "out_of_memory",
        "evidence": "killed at 4.1 GB",
        "message": "The machine ran out of memory.",
        "fix": "Choose a smaller rank.",
        "device_seconds": 12.0,
    }
    return RunFailed(**(_run(run_id) | given | changes))


def cancelled(run_id: str, **changes: Any) -> RunCancelled:
    return RunCancelled(**(_run(run_id) | {"device_seconds": 60.0} | changes))


def budget(limit: float, **changes: Any) -> BudgetSet:
    return BudgetSet(**({"tenant": "acme", "at": AT, "version": 1, "limit": limit} | changes))


def finished(run_id: str, **changes: Any) -> RunFinished:
    given = {
        "fence": 1,
        "base_model": SHIPPED_MODEL,
        "dataset_id": "dataset-1",
        "dataset_digest": SHA,
        "dataset_uri": "acme/datasets/a",
        "adapter_uri": "acme/runs/run-1/adapter",
        "sha256": SHA,
        "size": 1000,
        "steps": 68,
        "tokens": 30_600,
        "trained_tokens": 18_000,
        "device_seconds": 140.0,
        "train_seconds": 120.0,
        "memory_bytes": 2_500_000_000,
        "train_loss": 2.1,
        "interruptions": 0,
        "seed": 7,
    }
    return RunFinished(**(_run(run_id) | given | changes))


def _run(run_id: str) -> dict[str, Any]:
    return {"tenant": "acme", "at": AT, "job_id": "ftjob-1", "run_id": run_id}
