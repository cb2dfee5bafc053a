"""The runner's end of the private line: hello, a beat every two seconds, and the orders it takes.

A runner ends its children ten seconds after it sent the last beat that was answered: the control may give their work
to somebody else fifteen seconds after it heard that beat. It beats on while answers are missing, and each answer
counts however late it comes, so a platform or a runner that stands still for a few seconds costs nothing. A runner
that is leaving says so in its beats, and takes no orders.
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
        self._greeting = asyncio.Lock()
        self._answered = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Take orders and beat until cancelled."""
        nc = self.bus.nc
        await self._hello()
        await nc.subscribe(order_subject(self.name, "launch"), cb=self._launch)
        await nc.subscribe(order_subject(self.name, "stop"), cb=self._stop)
        self._keep(asyncio.get_running_loop().time())
        async with asyncio.TaskGroup() as beats:
            while True:
                beats.create_task(self.beat(self.settings.self_stop_seconds))
                await asyncio.sleep(self.settings.beat_seconds)

    def _keep(self, said: float) -> None:
        """A beat of that moment was heard: without an answer to a later one, the children end in time."""
        if said < self._answered:
            return
        if self._alarm:
            self._alarm.cancel()
        self._answered = said
        ends = said + self.settings.self_stop_seconds
        self._alarm = asyncio.get_running_loop().call_at(ends, self._cut_off)

    def _cut_off(self) -> None:
        if self.attempts.held:
            log.warning("nobody answers, ending children", seconds=self.settings.self_stop_seconds)
            self.attempts.let_go()

    async def _hello(self) -> None:
        hello = Hello(
            runner=self.name, devices=self.devices, shared=self.settings.share_devices, session=self.attempts.session
        )
        while not ((answer := await self._ask(HELLO, hello, Answered, self.settings.beat_seconds)) and answer.accepted):
            if answer:
                log.warning("the control refuses this runner; its log says why", runner=self.name)
            await asyncio.sleep(self.settings.beat_seconds / 4)

    async def beat(self, patience: float) -> None:
        """Say what is held, and end what is no longer ours, if it is answered within ``patience`` seconds."""
        at = asyncio.get_running_loop().time()
        said = Beat(
            runner=self.name,
            holds=self.attempts.holding(),
            leaving=self.attempts.closing,
            session=self.attempts.session,
        )
        heard = await self._ask(BEAT, said, Heard, patience)
        if heard is None:
            return
        self._keep(at)
        for fence in heard.stale:
            self.attempts.end(fence)
        if not (heard.known or self.attempts.held or self.attempts.closing or self._greeting.locked()):
            async with self._greeting:
                await self._hello()

    async def _ask(self, subject: str, said: Any, answer: Any, patience: float) -> Any:
        try:
            reply = await answered(self.bus.nc.request(subject, msgspec.json.encode(said), timeout=patience))
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
