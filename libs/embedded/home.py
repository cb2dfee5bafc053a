"""The folder an installation lives in, its ports and its secrets.

``WOODSHED_HOME`` says where (default: ``.woodshed`` beside the code). Secrets are made
once, readable by the owner alone.
"""

import contextlib
import json
import os
import secrets
import socket
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
    """Return a TCP port of 127.0.0.1 that nobody listens on right now.

    It lies below those that Linux lends to whoever connects somewhere, so none of them takes it before it is used.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def listening(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:``port``."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
