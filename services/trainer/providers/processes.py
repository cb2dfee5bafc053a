"""Runners of this host as Linux shows them: found by the marks in their environment, not by numbers kept somewhere.

So a control that was started anew finds those its forerunner started, and a number that Linux gave to another
program is never mistaken for one of ours.
"""

from collections.abc import Iterator
from pathlib import Path

KEY = "WOODSHED_MACHINE"
OWNER = "WOODSHED_MACHINE_OWNER"

SESSION = 3
"""Field of ``/proc/PID/stat`` behind the command's closing bracket: state, parent, group, session."""


def runners() -> Iterator[tuple[int, str, str]]:
    """Yield the process, key and owner of every runner a provider started; children of a runner are not yielded."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marks = _environment(folder)
            if KEY in marks and _leads_its_session(folder):
                yield int(folder.name), marks[KEY], marks.get(OWNER, "")
        except OSError:
            continue


def runner_of(key: str) -> int | None:
    """Return the process of the runner with this key, if it lives."""
    return next((pid for pid, theirs, _ in runners() if theirs == key), None)


def _environment(folder: Path) -> dict[str, str]:
    raw = (folder / "environ").read_bytes()
    if KEY.encode() not in raw:
        return {}
    return dict(line.decode(errors="replace").split("=", 1) for line in raw.split(b"\0") if b"=" in line)


def _leads_its_session(folder: Path) -> bool:
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return int(fields[SESSION]) == int(folder.name) and fields[0] != "Z"
