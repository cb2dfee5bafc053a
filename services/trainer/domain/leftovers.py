"""Which objects of runs nobody will ever name: what an attempt left that was killed, cancelled, or stale.

Such objects were never told to anybody. They go an hour after they were written and after their lease ended: by then
a holder that was frozen has found out that its lease is gone.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

QUIET = timedelta(hours=1)
KEY = re.compile(r"[^/]+/runs/[^/]+/fence-(\d+)/(.+)")


class Ended(Struct, frozen=True):
    """A lease that is over: since when, and whether its attempt delivered the run's adapter."""

    fence: int
    at: datetime
    delivered: bool


def fence_of(key: str) -> int | None:
    """Return the fence an object was written under; ``None``: it belongs to no run."""
    match = KEY.fullmatch(key)
    return int(match[1]) if match else None


def is_left(key: str, written: datetime, lease: Ended | None, committed: Iterable[str], now: datetime) -> bool:
    """Whether an object of a run is nobody's.

    ``lease`` is ``None`` while it is held; ``committed`` are the prefixes of the run's checkpoints.
    """
    if lease is None or max(written, lease.at) > now - QUIET:
        return False
    match = KEY.fullmatch(key)
    if match is None or any(key.startswith(f"{uri}/") for uri in committed):
        return False
    return not (lease.delivered and match[2].startswith("adapter/"))
