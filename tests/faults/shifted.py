"""Runs a program by another wall clock: ``python -m tests.faults.shifted SECONDS MODULE``.

Changing the machine's clock needs root and would hit everybody on it, so the two places a service reads the wall clock
at are shifted instead: ``libs.db.database.now`` and ``time.time``. Monotonic clocks, by which leases are judged, and
the database's clock stay.
"""

import runpy
import sys
import time
from datetime import timedelta

from libs.db import database


def shift(seconds: float) -> None:
    """Let this process read the wall clock ``seconds`` late (negative: early)."""
    now, wall = database.now, time.time
    database.now = lambda: now() + timedelta(seconds=seconds)
    time.time = lambda: wall() + seconds


if __name__ == "__main__":
    shift(float(sys.argv[1]))
    runpy.run_module(sys.argv[2], run_name="__main__", alter_sys=True)
