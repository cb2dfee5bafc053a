"""A process that the kernel really ends for want of memory is known by the kernel's own count."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.base import new_id
from services.trainer.domain.classifying import classified

V1, V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
LIMIT = str(150 * 2**20)
GREEDY = """
import sys, pathlib, subprocess
group = pathlib.Path(sys.argv[1])
(group / "cgroup.procs").write_text("0")
from services.trainer.runner.machine import memory_kills
before = memory_kills()
greedy = "kept = []\\nwhile True: kept.append(b'x' * 2**24)"
code = subprocess.run([sys.executable, "-c", greedy]).returncode
print(code, memory_kills() - before)
"""


@pytest.fixture
def cramped() -> Iterator[Path]:
    """A control group with little memory; making one needs privileges that a test may not have."""
    version_1 = V1.is_dir()
    group = (V1 if version_1 else V2) / new_id("woodshed-test")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        (group / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(LIMIT)
        yield group
    except OSError as error:
        pytest.skip(f"control groups limit no memory here: {error}")
    finally:
        group.rmdir()


def test_a_process_killed_for_memory_is_told_from_one_that_was_merely_killed(cramped: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GREEDY, str(cramped)], capture_output=True, text=True, check=True)
    code, kills = map(int, done.stdout.split())
    assert (code, kills) == (-9, 1)
    assert classified("", code, "", killed_for_memory=kills > 0) == "killed_for_memory"
    assert classified("", code, "") == "lost_worker"
