"""What the kernel of the runner's machine says about processes it had to end."""

import re
from pathlib import Path

VMSTAT = Path("/proc/vmstat")


def memory_kills(vmstat: Path = VMSTAT) -> int:
    """Count the processes killed for want of memory since this machine started; 0 where the kernel does not count.

    Needs no privilege. Source: ``oom_kill`` in ``/proc/vmstat``, Linux 4.13; it counts kills of every control group.
    """
    found = re.search(r"^oom_kill (\d+)$", vmstat.read_text(), re.MULTILINE) if vmstat.exists() else None
    return int(found[1]) if found else 0
