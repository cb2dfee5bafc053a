"""Who goes next: the most urgent job, among equals the oldest, that fits the device on offer; and who makes way for it.

A job makes way only for a strictly more urgent one, and only if its device is large enough: the least urgent,
among equals the one that started last, because it has the least to lose. It keeps its age in the queue. A device fits
a job if its memory does and it understands what the job's recipe needs.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from msgspec import Struct

PRIORITIES = ("high", "medium", "low")
"""Most urgent first."""


class Roomy(Protocol):
    """A device: its memory in bytes, and the features of recipes that it understands."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def features(self) -> tuple[str, ...]: ...


class Room(Struct, frozen=True):
    """What of a device is on its way back."""

    memory_bytes: int
    features: tuple[str, ...] = ()


class Waiting(Struct, frozen=True, kw_only=True):
    """A queued job: ``submitted_at`` is when a person asked, also after a device was declined.

    ``needs`` are the features of recipes that a device has to understand for it.
    """

    tenant: str
    job_id: str
    priority: str
    submitted_at: datetime
    memory_bytes: int
    needs: tuple[str, ...] = ()

    def fits(self, device: Roomy) -> bool:
        """Whether a device could carry it out."""
        return self.memory_bytes <= device.memory_bytes and set(self.needs) <= set(device.features)


W = TypeVar("W", bound=Waiting)


def pick(queue: Iterable[W], device: Roomy) -> W | None:
    """Choose the job for one device; ``None`` when nothing that waits fits it."""
    return next((job for _, job in turns(queue, [device])), None)


def turns(queue: Iterable[W], devices: Sequence[Roomy]) -> list[tuple[int, W]]:
    """Give each device, in this order, the job whose turn it is among those that fit it.

    Returns pairs of a device's index and its job; a device that nothing fits is left out.
    """
    left = sorted(queue, key=_turn)
    chosen = []
    for index, device in enumerate(devices):
        place = next((place for place, job in enumerate(left) if job.fits(device)), None)
        if place is not None:
            chosen.append((index, left.pop(place)))
    return chosen


class AtWork(Struct, frozen=True, kw_only=True):
    """A job on a device, of which it would free ``memory_bytes`` if it made way."""

    tenant: str
    job_id: str
    priority: str
    started_at: datetime
    memory_bytes: int
    features: tuple[str, ...] = ()


def more_urgent_than(priorities: Iterable[str]) -> list[str]:
    """Return the priorities above the lowest of these, most urgent first."""
    lowest = max((PRIORITIES.index(each) for each in priorities), default=0)
    return list(PRIORITIES[:lowest])


def making_way(waiting: Iterable[Waiting], at_work: Sequence[AtWork], coming: Sequence[Room]) -> list[AtWork]:
    """Choose the jobs that let their devices go for those that wait.

    ``coming`` are the devices that are being let go already: each serves one waiting job, so that none asks for a
    second one.
    """
    left, promised, chosen = list(at_work), sorted(coming, key=lambda each: each.memory_bytes), list[AtWork]()
    for job in sorted(waiting, key=_turn):
        if (enough := next((each for each in promised if job.fits(each)), None)) is not None:
            promised.remove(enough)
        elif victim := _victim(job, left):
            left.remove(victim)
            chosen.append(victim)
    return chosen


def _victim(job: Waiting, at_work: Iterable[AtWork]) -> AtWork | None:
    urgency = PRIORITIES.index(job.priority)
    below = [each for each in at_work if PRIORITIES.index(each.priority) > urgency and job.fits(each)]
    return max(below, key=lambda each: (PRIORITIES.index(each.priority), each.started_at, each.job_id), default=None)


def _turn(job: Waiting) -> tuple[int, datetime, str]:
    return PRIORITIES.index(job.priority), job.submitted_at, job.job_id
