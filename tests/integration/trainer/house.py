"""A control, and runners whose children pretend to train: everything else is real.

Nothing here is short by default: a lease that ends, or a runner that gives up, is asked for by the test that is about
it, so that a machine with no time to spare makes the others slow and not wrong.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from contracts.base import new_id
from contracts.jobs import Estimate, JobDispatched
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import DeviceOffered
from libs.bus import Bus
from libs.db import Database
from libs.embedded.supervisor import die_with_parent
from libs.storage import Storage
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS
from services.trainer.app import build
from services.trainer.runner.app import live
from services.trainer.settings import RunnerSettings, TrainerSettings
from tests.integration.trainer.stand_in_runner import MEMORY, device, stand_in

T = TypeVar("T")

LEASE = 30.0
SHORT_LEASE = 3.0
BEAT = 0.2
END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'woodshed_trainer'"
STANDING = "SELECT offer_id, offered_bytes FROM trainer.device WHERE device_id = $1 AND online AND offer_id IS NOT NULL"


class House:
    """What tests start, and what they see of it."""

    def __init__(self, world: World, models: str, dataset: tuple[str, str]) -> None:
        self.world = world
        self.models = models
        self.dataset = dataset
        self.storage = Storage.open(f"file://{world.servers.folder / 'storage'}")
        self.processes: list[asyncio.subprocess.Process] = []
        self.holds = world.servers.folder / "holds"
        shutil.rmtree(self.holds, ignore_errors=True)
        self.holds.mkdir()

    def hold(self, run_id: str = "all") -> None:
        """Keep the run, or all of them, from ending: its child waits two steps before its end."""
        (self.holds / run_id).touch()

    def release(self, run_id: str = "all") -> None:
        """Let the run end."""
        (self.holds / run_id).unlink()

    @contextlib.asynccontextmanager
    async def control(self, **changes: Any) -> AsyncIterator[None]:
        """Run a control in this process while inside."""
        platform = await self.world.platform("trainer")
        quick = {"lease_seconds": LEASE, "retry_last_seconds": 0.0}
        settings = self.world.settings(TrainerSettings, **(quick | changes))
        assert isinstance(settings, TrainerSettings)
        async with self.world.service(await build(settings, platform), platform):
            yield

    @contextlib.asynccontextmanager
    async def runner(
        self,
        name: str,
        *,
        devices: int = 1,
        memory: int = MEMORY,
        notice: float = 2.0,
        shared: bool = False,
        patience: float = 20.0,
    ) -> AsyncIterator[None]:
        """Run a runner in this process while inside; it leaves with notice."""
        settings = self.world.settings(
            RunnerSettings,
            models_dir=self.models,
            data_dir=str(self.world.servers.folder / "runners"),
            notice_seconds=notice,
            share_devices=shared,
            beat_seconds=BEAT,
            self_stop_seconds=patience,
        )
        assert isinstance(settings, RunnerSettings)
        found = tuple(device(name, number, memory) for number in range(devices))
        bus = await Bus.connect(settings, "runner")
        stop = asyncio.Event()
        living = asyncio.create_task(live(name, found, settings, bus, stop, stand_in))
        try:
            yield
        finally:
            stop.set()
            await living
            await bus.close()

    async def start_runner(self, name: str, *, notice: float = 2.0, **environ: str) -> asyncio.subprocess.Process:
        """Start a runner as a process of its own."""
        return await self._start(
            "tests.integration.trainer.stand_in_runner",
            {
                "WOODSHED_NATS_PASSWORD": PASSWORDS["runner"],
                "WOODSHED_DATA_DIR": str(self.world.servers.folder / "runners"),
                "WOODSHED_MODELS_DIR": self.models,
                "WOODSHED_RUNNER_NAME": name,
                "WOODSHED_NOTICE_SECONDS": str(notice),
                "WOODSHED_BEAT_SECONDS": str(BEAT),
                **environ,
            },
        )

    async def start_control(self, lease: float = LEASE) -> asyncio.subprocess.Process:
        """Start a control as a process of its own."""
        return await self._start(
            "services.trainer",
            {
                "WOODSHED_NATS_PASSWORD": PASSWORDS["trainer"],
                "WOODSHED_DATABASE_URL": self.world.servers.database_url("trainer"),
                "WOODSHED_LEASE_SECONDS": str(lease),
            },
        )

    async def _start(self, module: str, environ: dict[str, str]) -> asyncio.subprocess.Process:
        common = {
            "WOODSHED_NATS_URL": self.world.servers.nats_url,
            "WOODSHED_STORAGE_URL": f"file://{self.world.servers.folder / 'storage'}",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=os.environ | common | environ, preexec_fn=die_with_parent,
            process_group=0,
        )  # fmt: skip
        self.processes.append(process)
        return process

    @contextlib.asynccontextmanager
    async def database_away(self) -> AsyncIterator[None]:
        """Let no control reach the database while inside."""
        admin = await asyncpg.connect(self.world.servers.admin_url)
        try:
            await admin.execute("ALTER ROLE woodshed_trainer NOLOGIN")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'woodshed_trainer'"
            )
            yield
        finally:
            await admin.execute("ALTER ROLE woodshed_trainer LOGIN")
            await admin.close()

    async def close(self) -> None:
        """End the processes that still live."""
        for process in self.processes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                await process.wait()

    async def offered(self, device_id: str, memory_bytes: int | None = None) -> DeviceOffered:
        """Wait for the offer that stands for a device, of that much memory if it is said."""
        return await standing_offer(self.world, device_id, memory_bytes)

    async def dispatch(
        self, offer: DeviceOffered, *, steps: int = 12, memory: int = 1, held: bool = False, **more: Any
    ) -> JobDispatched:
        """Give a job to an offered device; it saves at each third of its ``steps``."""
        uri, digest = self.dataset
        job = self.job(offer, steps, memory, **({"dataset_uri": uri, "dataset_digest": digest} | more))
        if held:
            self.hold(job.run_id)
        await self.world.tell(job)
        return job

    def job(self, offer: DeviceOffered, steps: int, memory: int, **changes: Any) -> JobDispatched:
        """Make a job for an offered device."""
        given: dict[str, Any] = {
            "tenant": "acme",
            "at": offer.at,
            "job_id": new_id("ftjob"),
            "run_id": new_id("run"),
            "offer_id": offer.offer_id,
            "device_id": offer.device_id,
            "recipe": Recipe(base_model=SHIPPED_MODEL, max_steps=steps),
            "estimate": Estimate(
                seconds=1,
                seconds_low=1,
                seconds_high=1,
                cost=0,
                currency="EUR",
                memory_bytes=memory,
                steps=steps,
                tokens=1,
            ),
            "dataset_id": "ds-1",
        }
        return JobDispatched(**(given | changes))

    async def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Read the trainer's tables across tenants."""
        return await rows(self.world, statement, *values)


async def rows(world: World, statement: str, *values: Any) -> list[dict[str, Any]]:
    """Read the trainer's tables across tenants."""
    database = await Database.connect(world.servers.database_url("trainer"), "trainer", size=1)
    try:
        async with database.across_tenants() as tx:
            return [dict(row) for row in await tx.fetch(statement, *values)]
    finally:
        await database.close()


async def standing_offer(
    world: World, device_id: str, memory_bytes: int | None = None, *, timeout: float = 120.0
) -> DeviceOffered:
    """Wait for the offer that stands for a device, of that much memory if it is said, whichever it is in number."""

    async def stands() -> DeviceOffered | None:
        for row in await rows(world, STANDING, device_id):
            if memory_bytes in (None, row["offered_bytes"]):
                told = await world.all_told(DeviceOffered)
                return next((offer for offer in told if offer.offer_id == row["offer_id"]), None)
        return None

    return await until(stands, timeout=timeout)


async def until(look: Callable[[], Awaitable[T | None]], *, timeout: float = 120.0) -> T:
    """Look again and again until there is something to see, and return it."""
    async with asyncio.timeout(timeout):
        while not (seen := await look()):
            await asyncio.sleep(0.05)
    return seen
