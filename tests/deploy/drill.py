"""A whole installation in this process, with a runner that only says that it trains."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec.structs import replace

from libs.bus import Router
from libs.service import App
from libs.storage import Storage
from libs.testing.platform import World
from services.evaluator.handlers import router as evaluator
from services.gateway.collecting import Collector
from services.gateway.handlers import router as gateway
from services.notifier.app import build as build_notifier
from services.notifier.settings import Settings as NotifierSettings
from services.scheduler.app import build as build_scheduler
from services.scheduler.settings import Settings as SchedulerSettings
from services.trainer.app import build as build_trainer
from services.trainer.line import (
    BEAT,
    HELLO,
    REPORT,
    Answered,
    Beat,
    DeviceFound,
    Done,
    Held,
    Hello,
    Launch,
    Reached,
    Report,
    Uploaded,
    order_subject,
)
from services.trainer.settings import TrainerSettings

RUNNER = "drill"
SAVED = 10
DEVICE = DeviceFound(
    device_id="drill-cpu-1", kind="cpu", precision="float32", threads=1, memory_bytes=64_000_000_000, flops=1e12,
    torch_device="cpu",
)  # fmt: skip


@contextlib.asynccontextmanager
async def services(world: World, storage_url: str) -> AsyncIterator[None]:
    """Run every service's reactions while inside; nothing listens on HTTP and nothing is evaluated."""
    async with contextlib.AsyncExitStack() as stack:
        for service in ("gateway", "dataset", "scheduler", "trainer", "evaluator", "notifier"):
            platform = await world.platform(service)
            platform = replace(platform, storage=Storage.open(storage_url))
            await stack.enter_async_context(world.service(await _app(world, service, platform), platform))
        yield


async def _app(world: World, service: str, platform: Any) -> App:
    wake = asyncio.Event()
    match service:
        case "gateway":
            collector = Collector(platform.db, platform.storage, wake)
            return App(router=gateway, work=[collector.run], resources={"collecting": wake})
        case "scheduler":
            return await build_scheduler(world.settings(SchedulerSettings), platform)  # type: ignore[arg-type]
        case "trainer":
            return await build_trainer(world.settings(TrainerSettings, lease_seconds=6.0), platform)  # type: ignore[arg-type]
        case "evaluator":
            return App(router=evaluator, resources={"wake": wake, "database": None, "asker": None})
        case "notifier":
            return await build_notifier(world.settings(NotifierSettings), platform)  # type: ignore[arg-type]
    return App(router=Router("dataset"))


class Pretender:
    """A runner that saves at step 10 and waits, or, where it may, finishes at step 20."""

    def __init__(self, world: World, storage: Storage, *, finishes: bool) -> None:
        self.world = world
        self.storage = storage
        self.finishes = finishes
        self.holds: dict[int, str] = {}
        self.resumed_at: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Dial in, beat and take orders while inside; then be gone without a word."""
        await self.world.nc.subscribe(order_subject(RUNNER, "launch"), cb=self._launch)
        await self._ask(HELLO, Hello(runner=RUNNER, devices=(DEVICE,)))
        self._tasks.append(asyncio.create_task(self._beat()))
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()

    async def _beat(self) -> None:
        while True:
            holds = tuple(Held(run_id=run, fence=fence) for fence, run in self.holds.items())
            await self._ask(BEAT, Beat(runner=RUNNER, holds=holds))
            await asyncio.sleep(0.2)

    async def _launch(self, message: Any) -> None:
        launch = msgspec.json.decode(message.data, type=Launch)
        await message.respond(msgspec.json.encode(Answered()))
        if launch.fence not in self.holds:
            self.holds[launch.fence] = launch.run_id
            self._tasks.append(asyncio.create_task(self._carry_out(launch)))

    async def _carry_out(self, launch: Launch) -> None:
        prefix = f"{launch.tenant}/runs/{launch.run_id}/fence-{launch.fence}"
        step = launch.checkpoints[0].step if launch.checkpoints else 0
        self.resumed_at.append(step)
        await self._tell(launch, Reached(stage="starting"))
        await self._tell(launch, Reached(stage="training", step=step))
        if not self.finishes:
            await self._save(launch, f"{prefix}/step-{SAVED}")
            return
        stored = await self.storage.put_bytes(f"{prefix}/adapter/adapter_model.safetensors", b"learned")
        done = Done(
            adapter_uri=f"{prefix}/adapter", sha256=stored.sha256, size=stored.size, steps=2 * SAVED, tokens=1,
            trained_tokens=1, train_loss=1.0, eval_loss=None, train_seconds=1.0, memory_bytes=1,
        )  # fmt: skip
        await self._tell(launch, done)
        del self.holds[launch.fence]

    async def _save(self, launch: Launch, uri: str) -> None:
        weights = await self.storage.put_bytes(f"{uri}/adapter_model.safetensors", b"half learned")
        manifest = json.dumps({"files": {"adapter_model.safetensors": {"sha256": weights.sha256, "size": 12}}})
        await self.storage.put_bytes(f"{uri}/MANIFEST.json", manifest.encode())
        sha256 = hashlib.sha256(manifest.encode()).hexdigest()
        await self._tell(launch, Uploaded(step=SAVED, uri=uri, size=12, sha256=sha256))

    async def _tell(self, launch: Launch, what: Any) -> None:
        await self._ask(REPORT, Report(runner=RUNNER, run_id=launch.run_id, fence=launch.fence, what=what))

    async def _ask(self, subject: str, said: Any) -> bytes:
        reply = await self.world.nc.request(subject, msgspec.json.encode(said), timeout=10)
        return bytes(reply.data)
