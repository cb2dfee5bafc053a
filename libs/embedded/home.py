"""The folder an installation lives in, its ports and its secrets.

``WOODSHED_HOME`` says where (default: ``.woodshed`` beside the code). Secrets are made
once, readable by the owner alone.
"""

import fcntl
import functools
import json
import os
import secrets
import socket
import tempfile
from pathlib import Path

from contracts.catalogue import SERVICES
from libs.settings import HOME

SECRETS = ("admin", "auditor", "runner", "postgres", "pepper", "signing", *SERVICES)


class Home:
    """Where everything of one embedded installation lies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def default(cls) -> "Home":
        """The folder ``WOODSHED_HOME`` names, else the one beside the code."""
        return cls(Path(os.environ.get("WOODSHED_HOME", HOME)))

    @property
    def models(self) -> Path:
        """Base models, one sub-folder each."""
        return self.folder / "models"

    @property
    def storage_url(self) -> str:
        """The folder that stands for object storage."""
        return f"file://{self.folder / 'storage'}"

    def secrets(self) -> dict[str, str]:
        """Return the passwords of this installation; those it does not have yet are made."""
        path = self.folder / "secrets.json"
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        if missing := set(SECRETS) - set(found):
            found |= {name: secrets.token_urlsafe(24) for name in sorted(missing)}
            partial = path.with_suffix(".partial")
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                json.dump(found, file)
            partial.replace(path)
        return found


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on right now, and that this user's processes were not given.

    It lies below those that Linux lends to whoever connects somewhere, so none of them takes it before it is used.
    To whom it was given a lock says, on the port's byte of a file: it ends with the process.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_768)
        if _claim(port) and _is_free(port):
            return port


_given: set[int] = set()
"""Ports that this process has claimed: what it locked itself would not keep it out."""


@functools.cache
def _claims() -> int:
    """Open the file of locks, once: closing it would end them."""
    path = Path(tempfile.gettempdir()) / f"woodshed-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def _claim(port: int) -> bool:
    if port in _given:
        return False
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    _given.add(port)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listening(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:``port``."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
