"""What the kernel of the runner's machine says about memory: what is left of it, and who was ended for want of it."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
LIMITS = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
"""Of each version of control groups: the files of the limit and of what is taken, and what of that is cache."""


def memory_kills(root: Path = ROOT) -> int:
    """Count the processes around this one that the kernel killed for want of memory; 0 where it does not count them.

    Needs no privilege. Of this process's own control group where that counts (``oom_kill`` in ``memory.events`` of
    version 2, in ``memory.oom_control`` of version 1: kills by any out-of-memory killer, Linux 4.13), else of the whole
    machine (``/proc/vmstat``).
    """
    for file in _counters(root):
        found = re.search(r"^oom_kill (\d+)$", _text(file), re.MULTILINE)
        if found:
            return int(found[1])
    return 0


def free_memory(root: Path = ROOT) -> int:
    """Return the bytes that processes here may still take: the machine's, or fewer where a control group has a limit.

    Caches count as free, as they give way. 0 where the kernel does not say.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", _text(root / "proc/meminfo"), re.MULTILINE)
    return min([int(found[1]) * 1024 if found else 0, *_left(root)])


def _left(root: Path) -> Iterator[int]:
    for folder, version in _groups(root):
        limit, usage, cache = LIMITS[version]
        cached = re.search(rf"^{cache} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
        if (most := _text(folder / limit).strip()).isdigit():
            yield int(most) - int(_text(folder / usage) or 0) + int(cached[1] if cached else 0)


def _counters(root: Path) -> Iterator[Path]:
    """Name the files that may count kills, the nearest first."""
    for folder, version in _groups(root):
        yield folder / ("memory.events" if version == 2 else "memory.oom_control")
    yield root / "proc/vmstat"


def _groups(root: Path) -> Iterator[tuple[Path, int]]:
    """Name the control groups around this process, with their version, the nearest first; a container may not see the
    path its host gave it.
    """
    groups = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield groups / path.lstrip("/"), 2
            yield groups, 2
        elif "memory" in controllers.split(","):
            yield groups / "memory" / path.lstrip("/"), 1
            yield groups / "memory", 1


def _text(file: Path) -> str:
    """Read a file of the kernel's; empty where there is none."""
    return file.read_text() if file.is_file() else ""
