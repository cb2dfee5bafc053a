"""Where the API is and with which key: from options, else the environment, else the installation on this machine."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from libs.settings import HOME
from services.cli.errors import Unusable

LOCAL = "http://127.0.0.1:8080"


class Access(Struct, frozen=True):
    """The API's address and a key for it."""

    url: str
    key: str

    @property
    def on_this_machine(self) -> bool:
        """Whether the address never leaves this machine."""
        return urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")


def find(url: str | None, key: str | None, environ: Mapping[str, str] = os.environ) -> Access:
    """Decide where to go; ``Unusable`` says how to name a key. The local owner's key never goes to another machine."""
    home = Path(environ.get("WOODSHED_HOME", HOME))
    found = (url or environ.get("WOODSHED_URL") or _read(home / "url") or LOCAL).rstrip("/")
    if urlsplit(found).scheme not in ("http", "https"):
        raise Unusable(f"{found!r} is no address of a Woodshed. Give one such as --url {LOCAL}.")
    given = Access(found, key or environ.get("WOODSHED_API_KEY", ""))
    if not given.key and given.on_this_machine:
        given = Access(found, _read(home / "owner.key"))
    if not given.key:
        raise Unusable(
            f"There is no API key for {found}. Give one with --key or WOODSHED_API_KEY; for an installation on this "
            f"machine, `make up` makes one and keeps it in {home / 'owner.key'} (WOODSHED_HOME names another folder)."
        )
    return given


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
