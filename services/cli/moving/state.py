"""How far a move has come, in a file that is written before each step that could be done twice.

A file comes as an upload in parts. Its parts are written down before it is completed, and completing it again gives the
same file: so whenever the program was killed, the next run makes nothing twice.
"""

import os
from pathlib import Path

import msgspec
from msgspec import Struct, field

from services.cli.errors import Unusable


class Copy(Struct, kw_only=True):
    """A file on its way: the upload and parts it will be made of, its MD5 sum, and the ``file`` it became."""

    upload: str = ""
    parts: list[str] = field(default_factory=list)
    md5: str = ""
    file: str = ""


class State(Struct, kw_only=True):
    """What became of the other server's files and jobs, by their ids there."""

    source: str
    target: str
    files: dict[str, Copy] = field(default_factory=dict)
    jobs: dict[str, str] = field(default_factory=dict)

    @property
    def arrived(self) -> dict[str, str]:
        """The files that are here."""
        return {there: copy.file for there, copy in self.files.items() if copy.file}


class Notebook:
    """The state and where it is written."""

    def __init__(self, path: Path, state: State) -> None:
        self.path = path
        self.state = state

    @classmethod
    def open(cls, path: Path, source: str, target: str) -> "Notebook":
        """Go on with a state, or begin one; ``Unusable`` when it is of another move."""
        if not path.exists():
            return cls(path, State(source=source, target=target))
        try:
            state = msgspec.json.decode(path.read_bytes(), type=State)
        except msgspec.MsgspecError as error:
            raise Unusable(f"{path} is no state of a move ({error}). Name another file with --state.") from error
        if (state.source, state.target) != (source, target):
            raise Unusable(f"{path} is of a move from {state.source} to {state.target}. Name another with --state.")
        return cls(path, state)

    def keep(self) -> None:
        """Write the state; it is either the old or the new one, whatever happens."""
        partial = self.path.with_name(f"{self.path.name}.partial")
        with partial.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self.state)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)
