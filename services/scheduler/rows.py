"""How jobs and facts stand in rows, and how they are read back."""

from typing import Any, TypeVar

import msgspec

from contracts.base import Event
from contracts.datasets import DatasetReady
from contracts.jobs import JobSubmitted
from contracts.recipes import Recipe
from services.scheduler.domain.estimate import Device
from services.scheduler.domain.job import Job, News, Queued
from services.scheduler.domain.job_states import State

T = TypeVar("T")


def job_of(row: Any) -> Job:
    """Read a job whose wish is known."""
    return Job(
        tenant=row["tenant"],
        job_id=row["job_id"],
        state=State(row["state"]),
        wish=msgspec.json.decode(row["wish"], type=JobSubmitted),
        asked=_decoded(row["asked"], Recipe),
        run_id=row["run_id"],
        offer_id=row["offer_id"],
        begun=row["begun"],
        charged=row["charged"],
        recipe=_decoded(row["recipe"], Recipe),
        device=_decoded(row["device"], Device),
    )


def queued_of(row: Any) -> Queued:
    """Read a job that waits for a device, with its dataset."""
    return Queued(
        tenant=row["tenant"],
        job_id=row["job_id"],
        priority=row["priority"],
        submitted_at=row["submitted_at"],
        memory_bytes=row["memory_bytes"],
        needs=tuple(row["needs"]),
        job=job_of(row),
        ready=msgspec.json.decode(row["news"], type=DatasetReady),
    )


def news_of(text: str | None) -> News | None:
    """Read the news of a dataset, if there is any."""
    return msgspec.json.decode(text, type=News) if text else None


def as_json(value: Event | Recipe | Device) -> str:
    """Write a value as a column of jsonb takes it."""
    return msgspec.json.encode(value).decode()


def _decoded(text: str | None, kind: type[T]) -> T | None:
    return msgspec.json.decode(text, type=kind) if text else None
