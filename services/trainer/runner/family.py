"""Which processes belong to an attempt, wherever they have gone, and how the last of them is ended.

A process that makes a session of its own leaves its group, and with its parent's death its place in the tree. So each
attempt marks the environment of its child, which whatever that starts inherits, and the runner adopts orphans (Linux'
child subreaper): everything with the mark is then among the runner's descendants, and nobody else's is looked at.
"""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
MARK = "WOODSHED_ATTEMPT"
PROC = Path("/proc")


class Adopted:
    """Whether this process is the new parent of orphans below it, and who of its children are no orphans."""

    def __init__(self) -> None:
        self.adopts = False
        self.ours: set[int] = set()
        self.being_born = 0

    def adopt(self) -> None:
        """Become the parent of every orphan below this process, which must bury them from now on."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.adopts = True

    def bury(self) -> None:
        """Let dead orphans go; the dead that somebody here started are left to who waits for them."""
        if not self.adopts or self.being_born:
            return
        for pid, (state, parent) in _processes().items():
            if parent == os.getpid() and state == "Z" and pid not in self.ours:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


adopted = Adopted()


def marked(mark: str) -> list[int]:
    """List the living processes below this one that bear the mark."""
    wanted = f"{MARK}={mark}".encode()
    return [pid for pid in _below(os.getpid()) if wanted in _environment(pid)]


def end(mark: str) -> list[int]:
    """Kill whatever bears the mark, bury who is dead already, and return who was killed."""
    found = marked(mark)
    for pid in found:
        _kill(pid, mark)
    adopted.bury()
    return found


def exists(pid: int) -> bool:
    """Whether there is such a process, be it a dead one whom nobody has buried."""
    return (PROC / str(pid)).exists()


def catches(pid: int, sign: signal.Signals) -> bool:
    """Whether a process would do something of its own about a signal, rather than die of it."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (sign - 1) & 1)
    return False


def _kill(pid: int, mark: str) -> None:
    """Kill this very process, not one that was given its number since."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if f"{MARK}={mark}".encode() in _environment(pid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def _below(root: int) -> list[int]:
    """List the descendants of a process."""
    parents = {pid: parent for pid, (_, parent) in _processes().items()}
    found = [root]
    for above in found:
        found += [pid for pid, parent in parents.items() if parent == above]
    return found[1:]


def _processes() -> dict[int, tuple[str, int]]:
    """Read every process's state letter and parent; a name in ``stat`` may hold blanks and brackets."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                found[int(folder.name)] = (state, int(parent))
    return found


def _environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    return []
