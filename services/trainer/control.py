"""The control's end of the private line: what runners say becomes rows and facts, guarded by the fence.

Each is one transaction, as a reaction to a fact would be; a repeated report finds its
effect done and changes nothing. What a runner says is believed only if it can be true
(``domain/trust``) and its lease is still held: then ``reports`` has its effect, else
``refusals`` its answer. Which runners there are is heard in ``presence``.
"""

import asyncio
from typing import Any

import msgspec
import structlog

from contracts.runs import RunProgressed
from libs.bus import Bus
from libs.db import Database, Transaction
from libs.db.database import now
from libs.waking import Wake
from services.trainer import queries, queries_leases, queries_machines
from services.trainer.domain import budget
from services.trainer.domain.liveness import Silence
from services.trainer.domain.recovery import Backoff
from services.trainer.domain.trust import MOST_NUMBER, Granted, flaw_of_progress, flaw_of_report
from services.trainer.line import (
    BEAT,
    HELLO,
    PROGRESS,
    REPORT,
    Answered,
    Beat,
    Broken,
    Halted,
    Heard,
    Hello,
    ProgressReport,
    Report,
    encode,
)
from services.trainer.losses import lose, stopped
from services.trainer.presence import Presence
from services.trainer.refusals import late, refuse
from services.trainer.reports import apply, tell_spending
from services.trainer.settings import TrainerSettings

log = structlog.get_logger()


class Control:
    """Hears runners. ``silence`` is shared with the arbiter; ``wake`` makes the work loops look at once."""

    def __init__(self, db: Database, bus: Bus, settings: TrainerSettings, silence: Silence[int], wake: Wake) -> None:
        self.db = db
        self.bus = bus
        self.settings = settings
        self.silence = silence
        self.wake = wake
        self.backoff = Backoff(first=settings.retry_first_seconds, last=settings.retry_last_seconds)
        self.presence = Presence(self)

    async def listen(self) -> None:
        """Answer runners until cancelled. Every control hears every beat; reports go to any one of them."""
        nc = self.bus.nc
        await nc.subscribe(BEAT, cb=self._answering(Beat, self.presence.beat))
        await nc.subscribe(HELLO, queue="trainer", cb=self._answering(Hello, self.presence.hello))
        await nc.subscribe(REPORT, queue="trainer", cb=self._answering(Report, self.report))
        await nc.subscribe(PROGRESS, queue="trainer", cb=self._answering(ProgressReport, self.progress))
        await asyncio.Event().wait()

    def _answering(self, kind: Any, method: Any) -> Any:
        async def answer(message: Any) -> None:
            try:
                said = msgspec.json.decode(message.data, type=kind)
            except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
                log.warning("runner says what cannot be read", what=kind.__name__, error=repr(error)[:300])
                return await self._answer(message, Answered(accepted=False))
            try:
                await self._answer(message, await method(said))
            except Exception as error:
                log.warning("runner not answered, it will repeat", what=kind.__name__, error=repr(error))

        return answer

    async def _answer(self, message: Any, answer: Answered | Heard | None) -> None:
        if message.reply and answer is not None:
            await self.bus.nc.publish(message.reply, encode(answer))

    async def progress(self, said: ProgressReport) -> None:
        """Pass a look at a run on as telemetry."""
        if not 0 < said.fence < MOST_NUMBER:
            return
        seen = said.seen
        async with self.db.across_tenants(durable=False) as tx:
            run = await queries_leases.look(tx, said.fence)
            if run is None or flaw_of_progress(said, _granted(run, said.fence)):
                return
            await queries.set_step(tx, said.run_id, run["attempt"], seen.step)
            cost = await queries_machines.cost(tx, said.run_id, now(), self.settings.device_rate)
        if budget.reached(run["budget"], cost):
            async with self.db.across_tenants() as tx:
                await tell_spending(tx, run, cost, seen.step, seen.total_steps)
        await self.bus.publish_telemetry(
            RunProgressed(
                tenant=run["tenant"],
                at=now(),
                run_id=run["run_id"],
                job_id=run["job_id"],
                attempt=run["attempt"],
                step=seen.step,
                total_steps=seen.total_steps,
                epoch=seen.epoch,
                loss=seen.loss,
                learning_rate=seen.learning_rate,
                grad_norm=seen.grad_norm,
                tokens=seen.tokens,
                tokens_per_second=seen.tokens_per_second,
                samples_per_second=seen.samples_per_second,
                eta_seconds=seen.eta_seconds,
                memory_bytes=seen.device_bytes or seen.rss_bytes,
                token_accuracy=seen.token_accuracy,
                eval_token_accuracy=seen.eval_token_accuracy,
                eval_loss=seen.eval_loss,
                cost=cost,
                reward_margin=seen.reward_margin,
                reward_accuracy=seen.reward_accuracy,
            )
        )

    async def report(self, said: Report) -> Answered:
        """Apply what happened to an attempt, if it can be true and its fence still holds."""
        async with self.db.across_tenants() as tx:
            lease = await queries_leases.lease(tx, said.fence) if 0 < said.fence < MOST_NUMBER else None
            if flaw := flaw_of_report(said, _granted(lease, said.fence) if lease else None):
                return await refuse(tx, said, lease, flaw)
            run = await queries_leases.holder(tx, said.fence)
            if run is None:
                return await late(tx, said, lease)
            self.silence.heard(said.fence)
            await apply(tx, run, said, self.backoff, self.settings.device_rate)
        self.wake.set()
        return Answered()

    async def not_held(self, fence: int) -> None:
        """The runner knows nothing of an attempt it was asked to stop, so nothing of it runs: its device is free."""
        async with self.db.across_tenants() as tx:
            run = await queries_leases.holder(tx, fence)
            if run and await queries_leases.end_lease(tx, fence, now(), "stopped"):
                await stopped(tx, run, run["step"])
        self.wake.set()

    async def lose(self, tx: Transaction, fence: int, kind: str, evidence: str, what: Broken | Halted | None) -> None:
        """An attempt is over without a result: free its device, then go on or give up."""
        await lose(tx, fence, kind, evidence, what, self.backoff)


def _granted(row: Any, fence: int) -> Granted:
    return Granted(
        fence=fence,
        runner=row["runner"],
        session=row["session"],
        tenant=row["tenant"],
        run_id=row["run_id"],
        steps=row["steps"],
    )
