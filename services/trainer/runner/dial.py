"""The runner's end of the private line: hello, a beat every two seconds, and the orders it takes.

A runner whose beats go unanswered for ten seconds ends its children: somebody else may be
given the device soon after.
"""

import asyncio
from typing import Any

import msgspec
import nats.errors
import structlog

from libs.bus import Bus
from services.trainer.line import BEAT, HELLO, Answered, Beat, DeviceFound, Heard, Hello, Launch, Stop, order_subject
from services.trainer.runner.attempts import Attempts
from services.trainer.settings import RunnerSettings

log = structlog.get_logger()

UNANSWERED = (nats.errors.Error, TimeoutError, msgspec.MsgspecError)


class Dial:
    """Keeps the control informed that this machine lives."""

    def __init__(
        self, name: str, devices: tuple[DeviceFound, ...], settings: RunnerSettings, bus: Bus, attempts: Attempts
    ) -> None:
        self.name = name
        self.devices = devices
        self.settings = settings
        self.bus = bus
        self.attempts = attempts

    async def run(self) -> None:
        """Take orders and beat until cancelled."""
        nc = self.bus.nc
        await self._hello()
        await nc.subscribe(order_subject(self.name, "launch"), cb=self._launch)
        await nc.subscribe(order_subject(self.name, "stop"), cb=self._stop)
        answered = self._time()
        while True:
            if await self._beat():
                answered = self._time()
            elif self._time() - answered > self.settings.self_stop_seconds and self.attempts.held:
                log.warning("nobody answers, ending children", seconds=round(self._time() - answered, 1))
                await self.attempts.stop_all()
            await asyncio.sleep(self.settings.beat_seconds)

    async def _hello(self) -> None:
        while not await self._ask(HELLO, Hello(runner=self.name, devices=self.devices), Answered):
            await asyncio.sleep(self.settings.beat_seconds / 4)

    async def _beat(self) -> bool:
        heard = await self._ask(BEAT, Beat(runner=self.name, holds=self.attempts.holding()), Heard)
        if heard is None:
            return False
        for fence in heard.stale:
            self.attempts.end(fence)
        if not heard.known and not self.attempts.held:
            await self._hello()
        return True

    async def _ask(self, subject: str, said: Any, answer: Any) -> Any:
        try:
            reply = await self.bus.nc.request(subject, msgspec.json.encode(said), timeout=self.settings.beat_seconds)
            return msgspec.json.decode(reply.data, type=answer)
        except UNANSWERED:
            return None

    async def _launch(self, message: Any) -> None:
        self.attempts.begin(msgspec.json.decode(message.data, type=Launch))
        await message.respond(msgspec.json.encode(Answered()))

    async def _stop(self, message: Any) -> None:
        order = msgspec.json.decode(message.data, type=Stop)
        held = self.attempts.stop(order.fence, order.grace)
        await message.respond(msgspec.json.encode(Answered(accepted=held)))

    def _time(self) -> float:
        return asyncio.get_running_loop().time()
