"""Who goes next: the most urgent job, among equals the oldest, that fits the device on offer; and who makes way for it.

A job makes way only for a strictly more urgent one, and only if its device is large enough: the least urgent,
among equals the one that started last, because it has the least to lose. It keeps its age in the queue.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeVar

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


W = TypeVar("W", bound=Waiting)


def pick(queue: Iterable[W], memory_bytes: int) -> W | None:
    """Choose the job for one device with this much memory; ``None`` when nothing that waits fits it."""
    return next((job for _, job in turns(queue, [memory_bytes])), None)


def turns(queue: Iterable[W], devices: Sequence[int]) -> list[tuple[int, W]]:
    """Give each device, in this order, the job whose turn it is among those that fit its memory in bytes.

    Returns pairs of a device's index and its job; a device that nothing fits is left out.
    """
    left = sorted(queue, key=_turn)
    chosen = []
    for index, memory_bytes in enumerate(devices):
        place = next((place for place, job in enumerate(left) if job.memory_bytes <= memory_bytes), None)
        if place is not None:
            chosen.append((index, left.pop(place)))
    return chosen


class AtWork(Struct, frozen=True, kw_only=True):
    """A job on a device, which would free ``memory_bytes`` if it made way."""

    tenant: str
    job_id: str
    priority: str
    started_at: datetime
    memory_bytes: int


def more_urgent_than(priorities: Iterable[str]) -> list[str]:
    """Return the priorities above the lowest of these, most urgent first."""
    lowest = max((PRIORITIES.index(each) for each in priorities), default=0)
    return list(PRIORITIES[:lowest])


def making_way(waiting: Iterable[Waiting], at_work: Sequence[AtWork], coming: Sequence[int]) -> list[AtWork]:
    """Choose the jobs that let their devices go for those that wait.

    ``coming`` is the memory of each device that is being let go already: each serves one waiting job, so that
    none asks for a second one.
    """
    left, promised, chosen = list(at_work), sorted(coming), list[AtWork]()
    for job in sorted(waiting, key=_turn):
        if (enough := next((each for each in promised if each >= job.memory_bytes), None)) is not None:
            promised.remove(enough)
        elif victim := _victim(job, left):
            left.remove(victim)
            chosen.append(victim)
    return chosen


def _victim(job: Waiting, at_work: Iterable[AtWork]) -> AtWork | None:
    urgency = PRIORITIES.index(job.priority)
    below = [
        each for each in at_work if PRIORITIES.index(each.priority) > urgency and each.memory_bytes >= job.memory_bytes
    ]
    return max(below, key=lambda each: (PRIORITIES.index(each.priority), each.started_at, each.job_id), default=None)


def _turn(job: Waiting) -> tuple[int, datetime, str]:
    return PRIORITIES.index(job.priority), job.submitted_at, job.job_id
