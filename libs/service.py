"""The life of a service: connect, verify, work, stop gracefully.

``main(build, Settings)`` is all a service's ``__main__`` says; ``build`` makes its parts.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import structlog
from msgspec import Struct, field

from libs.bus import Bus, Router
from libs.bus.consume import Consumer
from libs.bus.forgetting import Forgetter
from libs.bus.relay import Relay
from libs.bus.streams import verify as verify_streams
from libs.db import Database
from libs.db.migrate import verify as verify_schema
from libs.errors import WoodshedError
from libs.health import Health
from libs.settings import ServiceSettings, load
from libs.storage import Storage
from libs.telemetry import observe

log = structlog.get_logger()
S = TypeVar("S", bound=ServiceSettings)
Work = Callable[[], Awaitable[None]]

MIGRATIONS = Path(__file__).resolve().parent.parent / "services"


class Platform(Struct, frozen=True):
    """What every service is given: its database, the bus, and object storage."""

    db: Database
    bus: Bus
    storage: Storage


class App(Struct):
    """A service's parts: what it reacts to, its work loops (run until cancelled), and what handlers may ask for."""

    router: Router
    work: list[Work] = field(default_factory=list)
    resources: dict[str, object] = field(default_factory=dict)


Build = Callable[[S, Platform], Awaitable[App]]


async def connect(settings: ServiceSettings, name: str) -> Platform:
    """Open the database, the bus and the storage of a service, and refuse what does not match this version."""
    db = await Database.connect(settings.database_url, name)
    async with db.held() as connection:
        await verify_schema(connection, name, MIGRATIONS / name / "migrations")
    bus = await Bus.connect(settings, name)
    await verify_streams(bus.js, name)
    return Platform(db, bus, Storage.open(settings.storage_url))


@contextlib.asynccontextmanager
async def running(app: App, platform: Platform, tasks: asyncio.TaskGroup):  # type: ignore[no-untyped-def]
    """Consume, relay and work while inside; on leaving, stop taking and let what runs finish."""
    app.router.resources |= app.resources
    consumer = Consumer(app.router, platform.bus, platform.db)
    await consumer.start()
    loops = [Relay(platform.db, platform.bus).run, *app.work]
    if app.router.reactions:
        loops.append(Forgetter(platform.db, platform.bus).run)
    started = [tasks.create_task(_named(loop)) for loop in loops]
    try:
        yield
    finally:
        for task in started:
            task.cancel()
        await consumer.stop()
        await platform.bus.close()


async def serve(build: Build[S], settings: S) -> None:
    """Run one service until SIGTERM or SIGINT."""
    name = settings.service
    observe(settings, name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    platform = await connect(settings, name)
    health = await Health.listen(settings.health_port, lambda: platform.bus.connected)
    app = await build(settings, platform)
    try:
        async with asyncio.TaskGroup() as tasks, running(app, platform, tasks):
            log.info("ready")
            await stop.wait()
            log.info("stopping")
    finally:
        await health.close()
        await platform.db.close()


def main(build: Build[S], kind: type[S]) -> None:
    """Entry of ``python -m services.<name>``: exits 2 with one sentence when the surroundings do not fit."""
    try:
        asyncio.run(serve(build, load(kind)))
    except WoodshedError as error:
        print(error.message, file=sys.stderr)
        sys.exit(2)


async def _named(work: Work) -> None:
    await work()
