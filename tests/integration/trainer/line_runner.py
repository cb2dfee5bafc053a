"""A runner that trains nothing: it takes orders over the private line and reports exactly what a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import nats

from libs.testing.platform import World
from libs.testing.servers import PASSWORDS
from services.trainer.line import (
    HELLO,
    PROGRESS,
    REPORT,
    Answered,
    DeviceFound,
    Done,
    Hello,
    Launch,
    ProgressReport,
    Report,
    Stop,
    Uploaded,
    What,
    encode,
    order_subject,
)
from services.trainer.training.protocol import Progressed

Order = TypeVar("Order", Launch, Stop)


class LineRunner:
    """The runner ``bench`` with one device; ``holds`` are the fences it answers for."""

    def __init__(self, client: Any) -> None:
        self.nc = client
        self.orders: asyncio.Queue[Launch | Stop] = asyncio.Queue()
        self.holds: set[int] = set()

    @classmethod
    @asynccontextmanager
    async def dialling(cls, world: World) -> AsyncIterator["LineRunner"]:
        """Dial in and say hello; hang up on leaving."""
        client = await nats.connect(
            world.servers.nats_url, user="runner", password=PASSWORDS["runner"], inbox_prefix="_INBOX.runner"
        )
        runner = cls(client)
        await client.subscribe(order_subject("bench", "launch"), cb=runner._launch)
        await client.subscribe(order_subject("bench", "stop"), cb=runner._stop)
        try:
            await runner.hello()
            yield runner
        finally:
            await client.close()

    async def hello(self) -> None:
        """Say that this machine has (re)started and holds nothing."""
        device = DeviceFound(
            device_id="bench-cpu",
            kind="stand-in",
            precision="float32",
            threads=1,
            memory_bytes=8_000_000_000,
            flops=1e9,
            torch_device="cpu",
        )
        async with asyncio.timeout(60):
            while not await self._answered(Hello(runner="bench", devices=(device,))):
                await asyncio.sleep(0.02)
        self.holds.clear()

    async def _answered(self, hello: Hello) -> bool:
        try:
            await self.nc.request(HELLO, encode(hello), timeout=30)
        except nats.errors.NoRespondersError:
            return False
        return True

    async def ordered(self, kind: type[Order]) -> Order:
        """Wait for the next order of a kind; repeated and other ones are passed over."""
        async with asyncio.timeout(60):
            while True:
                order = await self.orders.get()
                if isinstance(order, kind):
                    return order

    async def report(self, launch: Launch, what: What) -> bool:
        """Report what happened to an attempt; ``False``: its fence is stale."""
        said = Report(runner="bench", run_id=launch.run_id, fence=launch.fence, what=what)
        reply = await self.nc.request(REPORT, encode(said), timeout=30)
        return msgspec.json.decode(reply.data, type=Answered).accepted

    async def saves(self, launch: Launch, step: int) -> None:
        """Report a checkpoint."""
        uri = f"{launch.tenant}/runs/{launch.run_id}/fence-{launch.fence}/step-{step}"
        assert await self.report(launch, Uploaded(step=step, uri=uri, size=1, sha256="a" * 64))

    async def reaches(self, launch: Launch, step: int) -> None:
        """Show a step that no checkpoint keeps."""
        seen = Progressed(
            step=step, total_steps=90, epoch=0.0, loss=1.0, learning_rate=1e-4, grad_norm=1.0, tokens=step,
            trained_tokens=step, tokens_per_second=1.0, samples_per_second=1.0, eta_seconds=1.0,
        )  # fmt: skip
        told = msgspec.to_builtins(ProgressReport(run_id=launch.run_id, fence=launch.fence, seen=seen))
        await self.nc.publish(PROGRESS, msgspec.json.encode(told | {"runner": "bench"}))

    async def finishes(self, launch: Launch) -> bool:
        """Report an adapter."""
        return await self.report(
            launch,
            Done(
                adapter_uri=f"acme/runs/{launch.run_id}/fence-{launch.fence}/adapter",
                sha256="b" * 64,
                size=1,
                steps=90,
                tokens=1,
                trained_tokens=1,
                train_loss=1.0,
                eval_loss=None,
                train_seconds=1.0,
                memory_bytes=1,
            ),
        )

    async def _launch(self, message: Any) -> None:
        order = msgspec.json.decode(message.data, type=Launch)
        if order.fence not in self.holds:
            self.holds.add(order.fence)
            self.orders.put_nowait(order)
        await message.respond(encode(Answered()))

    async def _stop(self, message: Any) -> None:
        order = msgspec.json.decode(message.data, type=Stop)
        self.orders.put_nowait(order)
        await message.respond(encode(Answered(accepted=order.fence in self.holds)))
