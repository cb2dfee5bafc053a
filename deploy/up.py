"""Runs all of Woodshed on one machine from wheels alone: ``python -m deploy.up [--home DIR] [--port 8080]``.

Starts NATS and PostgreSQL, brings both to this version, starts every service as a process of its own and
keeps them running until Ctrl-C; then nothing is left. ``platform_up`` is the same for programs: the
demonstration and the end-to-end tests use it.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
import httpx
import nats
import structlog
from msgspec import Struct

from contracts.catalogue import SERVICES
from contracts.recipes import SHIPPED_MODEL
from deploy.installation import MARK, Lock, clean_up, ports, postgres_folder, trim_logs
from deploy.provision import DATABASE, ROOT, provision
from deploy.secrets import TENANT
from libs.bus.permissions import ADMIN, RUNNER
from libs.db import Database
from libs.embedded.home import Home, listening
from libs.embedded.nats import configure
from libs.embedded.postgres import Cluster, as_unprivileged
from libs.embedded.supervisor import Program, Supervisor
from libs.errors import Rejected, WoodshedError
from libs.settings import HOME
from services.gateway.bootstrap import another_key, bootstrap

PORT = 8080
RUNNER_ENVIRONMENT = "runner.env"
GRACE = 20.0
"""Seconds a program has to end in; the runner is told a little less, as the notice of its machine."""
PROGRAMS = {name: f"services.{name}" for name in SERVICES} | {RUNNER: "services.trainer.runner"}
"""Module of each program; the runner trains for the trainer and knows no database."""

Say = Callable[[str], None]


class Running(Struct, frozen=True, kw_only=True):
    """A platform that is up: where its API listens, the owner's key, and the processes behind it."""

    home: Home
    url: str
    key: str
    new_key: bool
    supervisor: Supervisor


@asynccontextmanager
async def platform_up(
    home: Home,
    port: int = PORT,
    say: Say = lambda _: None,
    *,
    without: Collection[str] = (),
    told: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Running]:
    """Have everything running while inside; however this is left, no process stays.

    ``port`` is the API's, 0 for any that is free. Programs named in ``without`` are not started; ``told`` are further
    settings of all others. Raises ``Rejected`` when the folder or the port is taken and
    ``TimeoutError`` naming the log of what did not come up.
    """
    with Lock(home):
        if left := clean_up(home):
            say(f"Ended {left} processes that an earlier run left behind.")
        trim_logs(home)
        supervisor = Supervisor(home.folder / "logs")
        try:
            yield await _start(home, port, supervisor, say, without, told)
        finally:
            with _Undisturbed():
                await supervisor.stop()
                clean_up(home)


async def _start(
    home: Home, port: int, supervisor: Supervisor, say: Say, without: Collection[str], told: Mapping[str, str]
) -> Running:
    given = ports(home)
    given["gateway"] = _api_port(port, given)
    secrets = home.secrets()
    say("Starting PostgreSQL and NATS")
    cluster = await start_servers(home, given, supervisor)
    say("Bringing tables and streams to this version")
    await provision(cluster.url, _nats_url(given), secrets)
    key, new = await _owner_key(home, cluster, secrets)
    _write_runner_environment(home, given, cluster, secrets)
    names = [name for name in PROGRAMS if name not in without]
    say(f"Starting {len(names)} services")
    programs = [_service(name, home, given, cluster, secrets, told) for name in names]
    await asyncio.gather(*(supervisor.start(each) for each in programs))
    url = f"http://127.0.0.1:{given['gateway']}"
    (home.folder / "url").write_text(url)
    return Running(home=home, url=url, key=key, new_key=new, supervisor=supervisor)


async def start_servers(home: Home, given: dict[str, int], supervisor: Supervisor) -> Cluster:
    """Start PostgreSQL and NATS on their ports; return the database cluster."""
    secrets = home.secrets()
    cluster = Cluster(postgres_folder(home), given["postgres"], secrets["postgres"])
    cluster.initialise()
    await supervisor.start(_postgres(home, cluster))
    await supervisor.start(_nats(home, given["nats"], secrets))
    return cluster


def _api_port(wanted: int, given: dict[str, int]) -> int:
    if wanted and listening(wanted):
        raise Rejected(
            f"Port {wanted} is in use by another program. Stop that one, or choose another port: make up PORT=8081",
            code="port_taken",
        )
    return wanted or given["gateway"]


def _nats_url(given: dict[str, int]) -> str:
    return f"nats://127.0.0.1:{given['nats']}"


def _postgres(home: Home, cluster: Cluster) -> Program:
    async def ready() -> bool:
        with suppress(OSError, asyncpg.PostgresError):
            await (await asyncpg.connect(cluster.url, timeout=2)).close()
            return True
        return False

    return Program(
        name="postgres",
        command=cluster.command(),
        env={MARK: str(home.folder)},
        ready=ready,
        stop_signal=signal.SIGINT,
        grace=20.0,
        options=as_unprivileged() | {"cwd": "/"},
    )


def _nats(home: Home, port: int, secrets: dict[str, str]) -> Program:
    async def ready() -> bool:
        if not listening(port):
            return False
        client = await nats.connect(f"nats://127.0.0.1:{port}", user=ADMIN, password=secrets[ADMIN], connect_timeout=2)
        await client.close()
        return True

    command = configure(home.folder / "nats", port, secrets)
    return Program(name="nats", command=command, env={MARK: str(home.folder)}, ready=ready)


def _service(
    name: str, home: Home, given: dict[str, int], cluster: Cluster, secrets: dict[str, str], told: Mapping[str, str]
) -> Program:
    return Program(
        name=name,
        command=[sys.executable, "-m", PROGRAMS[name]],
        env=_environment(name, home, given, cluster, secrets) | dict(told),
        ready=_answers(given[name]),
        grace=GRACE,
        options={"cwd": ROOT},
    )


def _environment(
    name: str, home: Home, given: dict[str, int], cluster: Cluster, secrets: dict[str, str]
) -> dict[str, str]:
    """Return what one program is told: its own passwords and nobody else's."""
    told = {
        MARK: str(home.folder),
        "WOODSHED_NATS_URL": _nats_url(given),
        "WOODSHED_NATS_USER": name,
        "WOODSHED_NATS_PASSWORD": secrets[name],
        "WOODSHED_STORAGE_URL": home.storage_url,
        "WOODSHED_DATA_DIR": str(home.folder / "work" / name),
        "WOODSHED_MODELS_DIR": str(models_of(home)),
        "WOODSHED_HEALTH_PORT": "0" if name == "gateway" else str(given[name]),
    }
    if name == RUNNER:
        told["WOODSHED_NOTICE_SECONDS"] = str(GRACE - 2.0)
    else:
        told["WOODSHED_DATABASE_URL"] = cluster.url_for(f"woodshed_{name}", secrets[name], DATABASE)
    if name == "gateway":
        told |= {
            "WOODSHED_GATEWAY_PORT": str(given["gateway"]),
            "WOODSHED_GATEWAY_HEALTH_PORT": "0",
            "WOODSHED_GATEWAY_KEY_PEPPER": secrets["pepper"],
            "WOODSHED_GATEWAY_TENANT": TENANT,
        }
    if name in ("gateway", "notifier"):
        told["WOODSHED_SIGNING_KEY"] = secrets["signing"]
    if name == "notifier":
        told["WOODSHED_NOTIFIER_PUBLIC_URL"] = f"http://127.0.0.1:{given['gateway']}"
    return told


def _write_runner_environment(home: Home, given: dict[str, int], cluster: Cluster, secrets: dict[str, str]) -> None:
    """Leave what a runner is told where a pool of machines of this host finds it, readable by the owner alone."""
    lines = [f"{key}={value}\n" for key, value in _environment(RUNNER, home, given, cluster, secrets).items()]
    handle = os.open(home.folder / RUNNER_ENVIRONMENT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.writelines(lines)


def models_of(home: Home) -> Path:
    """Return the folder of base models: this home's own if it has some, else the one that set-up filled."""
    return home.models if (home.models / SHIPPED_MODEL).exists() else HOME / "models"


def _answers(port: int) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        with suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                return (await client.get(f"http://127.0.0.1:{port}/health/ready")).is_success
        return False

    return ready


async def _owner_key(home: Home, cluster: Cluster, secrets: dict[str, str]) -> tuple[str, bool]:
    """Return the owner's key from ``owner.key``, made with the organisation at the first start, and whether it is new.

    A start that was killed between the two makes another key: the database keeps only a digest.
    """
    path = home.folder / "owner.key"
    if path.exists():
        return path.read_text().strip(), False
    db = await Database.connect(cluster.url_for("woodshed_gateway", secrets["gateway"], DATABASE), "gateway")
    try:
        key = await bootstrap(db, TENANT, secrets["pepper"]) or await another_key(
            db, TENANT, "owner's key of this machine", secrets["pepper"]
        )
    finally:
        await db.close()
    handle = os.open(path.with_suffix(".partial"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(key + "\n")
    path.with_suffix(".partial").replace(path)
    return key, True


class _Undisturbed:
    """Lets stopping finish: a second Ctrl-C is answered with a word, not with half a stop."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, lambda *_: print("Stopping …", file=sys.stderr))

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


def until_told(main: Coroutine[Any, Any, int]) -> int:
    """Run a program to its end; Ctrl-C, SIGTERM and a closed terminal cancel it, so that it stops what it started."""

    async def guarded() -> int:
        task = asyncio.current_task()
        assert task is not None
        for sign in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(sign, lambda: task.cancelling() or task.cancel())
        return await main

    try:
        return asyncio.run(guarded())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except (WoodshedError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 2


async def up(home: Home, port: int) -> int:
    """Start, say where everything is, and stay until stopped."""
    structlog.configure(processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False)])
    async with platform_up(home, port, say=lambda text: print(f"  {text} …", flush=True)) as running:
        print(_welcome(running), flush=True)
        await asyncio.Event().wait()
    return 0


def _welcome(running: Running) -> str:
    key = f"\n  owner's API key     {running.key}   (printed this once; kept in {running.home.folder / 'owner.key'})"
    return (
        f"Woodshed runs at {running.url}" + (key if running.new_key else "") + f"\n"
        f"  API, to try out     {running.url}/docs\n"
        f"  train a model       .venv/bin/woodshed train FILE --preset quick --name NAME\n"
        f"  logs                {running.home.folder / 'logs'}\n"
        f"Ctrl-C stops it; what was accepted goes on at the next start."
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Run Woodshed on this machine until Ctrl-C.")
    parser.add_argument("--home", type=Path, help="folder everything lies in (default: WOODSHED_HOME, else .woodshed)")
    parser.add_argument("--port", type=int, default=PORT, help=f"port of the API (default {PORT})")
    given = parser.parse_args()
    home = Home(given.home.resolve()) if given.home else Home(Home.default().folder.resolve())
    sys.exit(until_told(up(home, given.port)))


if __name__ == "__main__":
    main()
