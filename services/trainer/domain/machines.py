"""How many machines a pool should have, what to believe of one, and which are nobody's.

Pure: the keeper (``machines.py``) brings what was seen and carries out what is decided here.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

BELIEF = 2
"""Looks in a row that must call a machine ended before it is taken for ended: providers' states flap."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 1800.0


class Machine(Struct, frozen=True, kw_only=True):
    """A row of a machine that is kept, or being ended (``wanted`` false).

    ``handle`` is null until a launch was answered. ``doubts`` counts looks in a row that called it ended, ``tries``
    launches that were not answered. ``heard_at``: when its runner was first heard; ``busy_at``: when it last held a
    lease, or was asked for.
    """

    key: str
    pool: str
    kind: str
    handle: str | None
    state: str
    wanted: bool
    doubts: int
    tries: int
    ask_at: datetime
    asked_at: datetime
    heard_at: datetime | None
    busy_at: datetime


class Capacity(Struct, frozen=True, kw_only=True):
    """What a pool may have: machines at least and at most, and the devices of each."""

    least: int
    most: int
    devices: int


def wanted(pools: Sequence[Capacity], busy: Sequence[int], waiting: Sequence[int]) -> list[int]:
    """Return the number of machines for each pool, in order of preference.

    ``busy`` machines stay; ``waiting`` is how many runs and jobs have waited longer than each pool's patience. What
    one pool takes on, the next need not.
    """
    numbers, taken = [], 0
    for pool, at_work, wait in zip(pools, busy, waiting, strict=True):
        more = min(math.ceil(max(0, wait - taken) / pool.devices), max(0, pool.most - at_work))
        taken += more * pool.devices
        numbers.append(max(pool.least, at_work + more))
    return numbers


def doubts_after(doubts: int, seen: str, *, heard: bool, certain: bool) -> int:
    """Count doubts on: ``exited`` and ``gone`` add one; ``unknown`` changes nothing.

    A machine whose runner is ``heard`` lives, whatever its provider says. ``BELIEF`` doubts end a machine; a provider
    that is ``certain`` needs to say it once.
    """
    if seen == "unknown":
        return doubts
    if seen not in ("exited", "gone"):
        return 0
    if certain:
        return BELIEF
    return 0 if heard else doubts + 1


def never_came(machine: Machine, now: datetime, boot_seconds: float) -> bool:
    """Whether a machine runs and costs, but its runner has not dialled in within the time a start may take."""
    late = now - machine.asked_at > timedelta(seconds=boot_seconds)
    return machine.heard_at is None and machine.state == "running" and late


def pause(barren: int) -> float:
    """Return the seconds to wait before another machine is asked for, after ``barren`` in a row came to nothing."""
    return 0.0 if barren == 0 else float(min(LONGEST_PAUSE, FIRST_PAUSE * 4 ** (barren - 1)))


def to_give_back(
    machines: Iterable[Machine], holding: Collection[str], number: int, now: datetime, idle_seconds: float
) -> list[Machine]:
    """Choose machines above ``number`` that hold no lease and have been idle long enough, the longest idle first."""
    kept = [each for each in machines if each.wanted]
    patience = timedelta(seconds=idle_seconds)
    idle = [each for each in kept if each.key not in holding and now - each.busy_at > patience]
    return sorted(idle, key=lambda each: each.busy_at)[: max(0, len(kept) - number)]


def is_orphan(handle: str, known: tuple[str | None, bool] | None) -> bool:
    """Whether a machine found at a provider is nobody's: ``known`` is its key's row as (handle, kept or being ended).

    A key without a row, or whose row is over, or whose row stands for another machine of the same key.
    """
    if known is None:
        return True
    theirs, open_ = known
    return not open_ or (theirs is not None and theirs != handle)
