"""Who goes next: the most urgent job, among equals the oldest, that fits the device on offer."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

PRIORITIES = ("high", "medium", "low")
"""Most urgent first."""


class Waiting(Struct, frozen=True, kw_only=True):
    """A queued job: ``submitted_at`` is when a person asked, also after a device was declined."""

    tenant: str
    job_id: str
    priority: str
    submitted_at: datetime
    memory_bytes: int


def pick(jobs: Iterable[Waiting], memory_bytes: int) -> Waiting | None:
    """Choose the job for a device with this much memory; ``None`` when nothing that waits fits it."""
    return min((job for job in jobs if job.memory_bytes <= memory_bytes), key=_turn, default=None)


def _turn(job: Waiting) -> tuple[int, datetime, str]:
    return PRIORITIES.index(job.priority), job.submitted_at, job.job_id
