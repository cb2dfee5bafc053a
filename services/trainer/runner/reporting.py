"""Reports from an attempt to the control: in order, repeated until answered."""

import asyncio

import msgspec
import nats.errors
import structlog

from libs.bus import Bus
from services.trainer.line import PROGRESS, REPORT, Answered, ProgressReport, Report, What
from services.trainer.training.protocol import Progressed

log = structlog.get_logger()

TIMEOUT = 5.0
PAUSE = 0.5


class Stale(Exception):
    """The control does not accept reports under this fence: the lease is gone."""


class Reporter:
    """Speaks for one attempt, under its fence."""

    def __init__(self, bus: Bus, runner: str, session: str, run_id: str, fence: int) -> None:
        self.bus = bus
        self.session = session
        self.runner = runner
        self.run_id = run_id
        self.fence = fence

    async def tell(self, what: What) -> None:
        """Report and wait for the answer, however long; ``Stale`` when the lease is no longer ours."""
        body = msgspec.json.encode(
            Report(runner=self.runner, session=self.session, run_id=self.run_id, fence=self.fence, what=what)
        )
        while True:
            try:
                reply = await self.bus.nc.request(REPORT, body, timeout=TIMEOUT)
                break
            except (nats.errors.Error, TimeoutError) as error:
                log.info("report unanswered, repeating", what=type(what).__name__, error=repr(error))
                await asyncio.sleep(PAUSE)
        if not msgspec.json.decode(reply.data, type=Answered).accepted:
            raise Stale(f"fence {self.fence}")

    async def show(self, seen: Progressed) -> None:
        """Pass a look on; lost if nobody listens."""
        if self.bus.connected:
            progress = ProgressReport(
                runner=self.runner, session=self.session, run_id=self.run_id, fence=self.fence, seen=seen
            )
            await self.bus.nc.publish(PROGRESS, msgspec.json.encode(progress))
