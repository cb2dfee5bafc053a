"""What the kernel of the runner's machine says about processes it had to end."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def memory_kills(root: Path = ROOT) -> int:
    """Count the processes around this one that the kernel killed for want of memory; 0 where it does not count them.

    Needs no privilege. Of this process's own control group where that counts (``oom_kill`` in ``memory.events`` of
    version 2, in ``memory.oom_control`` of version 1: kills by any out-of-memory killer, Linux 4.13), else of the whole
    machine (``/proc/vmstat``).
    """
    for file in _counters(root):
        found = re.search(r"^oom_kill (\d+)$", file.read_text(), re.MULTILINE) if file.is_file() else None
        if found:
            return int(found[1])
    return 0


def _counters(root: Path) -> Iterator[Path]:
    """Name the files that may count, the nearest first; a container may not see the path its host gave it."""
    groups = root / "sys/fs/cgroup"
    own = root / "proc/self/cgroup"
    for line in own.read_text().splitlines() if own.is_file() else ():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield groups / path.lstrip("/") / "memory.events"
            yield groups / "memory.events"
        elif "memory" in controllers.split(","):
            yield groups / "memory" / path.lstrip("/") / "memory.oom_control"
            yield groups / "memory/memory.oom_control"
    yield root / "proc/vmstat"
