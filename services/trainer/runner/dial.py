"""The runner's end of the private line: hello, a beat every two seconds, and the orders it takes.

A runner whose beats go unanswered for ten seconds ends its children: somebody else may be
given their work soon after. One that is leaving says so in its beats, and takes no orders.
"""

import asyncio
from typing import Any

import msgspec
import nats.errors
import structlog

from libs.bus import Bus
from libs.bus.connection import answered
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
        alarm = self._set_alarm()
        while True:
            next_alarm = self._set_alarm()
            if await self.beat():
                alarm.cancel()
                alarm = next_alarm
            else:
                next_alarm.cancel()
            await asyncio.sleep(self.settings.beat_seconds)

    def _set_alarm(self) -> asyncio.TimerHandle:
        """From the moment a beat leaves: without an answer to it or a later one, the children end."""
        return asyncio.get_running_loop().call_later(self.settings.self_stop_seconds, self._cut_off)

    def _cut_off(self) -> None:
        if self.attempts.held:
            log.warning("nobody answers, ending children", seconds=self.settings.self_stop_seconds)
            self.attempts.let_go()

    async def _hello(self) -> None:
        hello = Hello(
            runner=self.name, devices=self.devices, shared=self.settings.share_devices, session=self.attempts.session
        )
        while not ((answer := await self._ask(HELLO, hello, Answered)) and answer.accepted):
            if answer:
                log.warning("the control refuses this runner; its log says why", runner=self.name)
            await asyncio.sleep(self.settings.beat_seconds / 4)

    async def beat(self) -> bool:
        """Say what is held, and end what is no longer ours. ``False``: nobody answered."""
        said = Beat(
            runner=self.name,
            holds=self.attempts.holding(),
            leaving=self.attempts.closing,
            session=self.attempts.session,
        )
        heard = await self._ask(BEAT, said, Heard)
        if heard is None:
            return False
        for fence in heard.stale:
            self.attempts.end(fence)
        if not (heard.known or self.attempts.held or self.attempts.closing):
            await self._hello()
        return True

    async def _ask(self, subject: str, said: Any, answer: Any) -> Any:
        try:
            reply = await answered(
                self.bus.nc.request(subject, msgspec.json.encode(said), timeout=self.settings.beat_seconds)
            )
            return msgspec.json.decode(reply.data, type=answer)
        except UNANSWERED:
            return None

    async def _launch(self, message: Any) -> None:
        taken = self.attempts.begin(msgspec.json.decode(message.data, type=Launch))
        await message.respond(msgspec.json.encode(Answered(accepted=taken)))

    async def _stop(self, message: Any) -> None:
        order = msgspec.json.decode(message.data, type=Stop)
        held = self.attempts.stop(order.fence, order.grace)
        await message.respond(msgspec.json.encode(Answered(accepted=held)))
