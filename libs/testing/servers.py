"""NATS and PostgreSQL for a test session: started once, emptied between tests, gone at the end."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from msgspec import Struct

from libs.embedded import nats as embedded_nats
from libs.embedded.home import SECRETS, free_port, listening
from libs.embedded.postgres import Cluster, as_unprivileged
from libs.embedded.supervisor import die_with_parent

PASSWORDS = dict.fromkeys(SECRETS, "test-password") | {"signing": "a signing key of at least thirty-two characters"}


class Servers(Struct, frozen=True):
    """Where the session's servers listen."""

    nats_url: str
    admin_url: str
    cluster: Cluster
    folder: Path

    def database_url(self, service: str, database: str = "woodshed") -> str:
        """The address a service connects with."""
        return self.cluster.url_for(f"woodshed_{service}", PASSWORDS[service], database)


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Start both servers on free ports in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="woodshed-test-"))
    folder.chmod(0o755)
    cluster = Cluster(folder / "postgres", free_port(), PASSWORDS["postgres"])
    cluster.initialise()
    try:
        postgres = _started([*cluster.command(), "-c", "fsync=off"], cluster.port, **as_unprivileged())
        with postgres, broker(folder) as nats_url:
            asyncio.run(_accepts(cluster.url))
            yield Servers(nats_url, cluster.url, cluster, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Start a NATS server on a free port, with its data below ``folder``; yields its address."""
    port = free_port()
    with _started(embedded_nats.configure(folder / "nats", port, PASSWORDS), port):
        yield f"nats://127.0.0.1:{port}"


@contextlib.contextmanager
def _started(command: list[str], port: int, **options: Any) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        preexec_fn=die_with_parent,
        **options,
    )
    try:
        _wait(port)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(port: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not listening(port):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing listens on port {port} after {seconds} s")
        time.sleep(0.02)


async def _accepts(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(asyncpg.PostgresError, OSError):
            await (await asyncpg.connect(url)).close()
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("PostgreSQL does not accept connections")
