"""The control's end of the private line: what runners say becomes rows and facts, guarded by the fence.

Each is one transaction, as a reaction to a fact would be; a repeated report finds its
effect done and changes nothing. What a runner says is believed only if it can be true
(``domain/trust``); which runners there are is heard in ``presence``.
"""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from contracts.base import Event
from contracts.recipes import Recipe
from contracts.runs import (
    CheckpointCommitted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunProgressed,
    RunRecovered,
    RunRemarked,
    RunStageReached,
    RunStarted,
    WriteFenced,
)
from libs.bus import Bus
from libs.db import Database, Transaction
from libs.db.database import now
from services.trainer import queries, queries_machines
from services.trainer.domain import run_states
from services.trainer.domain.classifying import classified
from services.trainer.domain.failures import Failure, evidence_of
from services.trainer.domain.liveness import Silence
from services.trainer.domain.recovery import PREEMPTED, Backoff, GoOn, History, after_loss, is_hopeless
from services.trainer.domain.remedies import with_settings
from services.trainer.domain.trust import (
    MOST_NUMBER,
    TOKEN,
    Granted,
    flaw_of_progress,
    flaw_of_report,
)
from services.trainer.handlers import set_aside
from services.trainer.line import (
    BEAT,
    HELLO,
    PROGRESS,
    REPORT,
    Answered,
    Beat,
    Broken,
    Done,
    Halted,
    Heard,
    Hello,
    ProgressReport,
    Quarantined,
    Reached,
    Remark,
    Report,
    Uploaded,
    encode,
)
from services.trainer.presence import Presence
from services.trainer.settings import TrainerSettings
from services.trainer.training.hardware import tokens_for

log = structlog.get_logger()

LONGEST_REMARK = 500


class Control:
    """Hears runners. ``silence`` is shared with the arbiter; ``wake`` makes the work loops look at once."""

    def __init__(
        self, db: Database, bus: Bus, settings: TrainerSettings, silence: Silence[int], wake: asyncio.Event
    ) -> None:
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
        async with self.db.across_tenants() as tx:
            run = await queries.look(tx, said.fence)
            if run is None or flaw_of_progress(said, _granted(run, said.fence)):
                return
            await queries.set_step(tx, said.run_id, run["attempt"], said.seen.step)
            cost = await queries_machines.cost(tx, said.run_id, now(), self.settings.device_rate)
        seen = said.seen
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
                eval_loss=seen.eval_loss,
                cost=cost,
            )
        )

    async def report(self, said: Report) -> Answered:
        """Apply what happened to an attempt, if it can be true and its fence still holds."""
        async with self.db.across_tenants() as tx:
            lease = await queries.lease(tx, said.fence) if 0 < said.fence < MOST_NUMBER else None
            if flaw := flaw_of_report(said, _granted(lease, said.fence) if lease else None):
                return await self._refused(tx, said, lease, flaw)
            run = await queries.holder(tx, said.fence)
            if run is None:
                return await self._late(tx, said, lease)
            self.silence.heard(said.fence)
            await self._apply(tx, run, said)
        self.wake.set()
        return Answered()

    async def _apply(self, tx: Transaction, run: Any, said: Report) -> None:
        match said.what:
            case Reached():
                await self._reached(tx, run, said.what)
            case Uploaded():
                await self._uploaded(tx, run, said.what)
            case Quarantined():
                await queries.quarantine(tx, run["run_id"], said.what)
            case Remark():
                await self._remarked(tx, run, said.what)
            case Done():
                await self._done(tx, run, said.what)
            case Halted():
                await self._halted(tx, run, said.what)
            case Broken():
                await self._broke(tx, said.fence, said.what)

    async def _refused(self, tx: Transaction, said: Report, lease: Any, flaw: str) -> Answered:
        """A report that cannot be true is told, to the tenant whose lease it names."""
        log.warning("report refused", runner=said.runner[:40], fence=said.fence, why=flaw)
        if lease:
            await self._fenced(tx, lease["tenant"], lease["run_id"], said, flaw)
        elif TOKEN.fullmatch(said.run_id) and (tenant := await queries.tenant_of(tx, said.run_id)):
            await self._fenced(tx, tenant, said.run_id, said, flaw)
        return Answered(accepted=False)

    async def _late(self, tx: Transaction, said: Report, lease: Any) -> Answered:
        """A report under an ended lease: taken if it only repeats what was done, else refused; refused data is told."""
        log.info("stale report", run=said.run_id, fence=said.fence, what=type(said.what).__name__)
        match said.what:
            case Uploaded() if await queries.was_committed(tx, said.fence, said.what):
                return Answered()
            case Done() if lease["ended_how"] == "done":
                return Answered()
            case Uploaded() | Done():
                await self._fenced(tx, lease["tenant"], said.run_id, said, "the lease has ended")
        return Answered(accepted=False)

    async def _fenced(self, tx: Transaction, tenant: str, run_id: str, said: Report, why: str) -> None:
        await tx.tell(
            WriteFenced(
                tenant=tenant,
                at=now(),
                run_id=run_id,
                fence=min(abs(said.fence), MOST_NUMBER),
                what=type(said.what).__name__,
                why=why,
            )
        )

    async def _reached(self, tx: Transaction, run: Any, what: Reached) -> None:
        state = run_states.after(run["state"], "child_up")
        if state:
            await queries.set_state(tx, run["run_id"], state)
        if not run["told_started"]:
            await tx.tell(self._of(RunStarted, run, device_id=run["device_id"], fence=run["fence"]))
            await queries.set_started(tx, run["run_id"])
        await tx.tell(self._of(RunStageReached, run, stage=what.stage))
        if what.stage == "training" and run["interrupted_at"]:
            seconds = max(0.0, (now() - run["interrupted_at"]).total_seconds())
            lost = await queries.add_lost(tx, run["run_id"], seconds=0.0 if run["stop_why"] == "pause" else seconds)
            await tx.tell(
                self._of(
                    RunRecovered,
                    run,
                    fence=run["fence"],
                    step=what.step,
                    seconds=seconds,
                    interruptions=run["interruptions"],
                    lost_steps=lost["lost_steps"],
                    lost_seconds=lost["lost_seconds"],
                )
            )
            await queries.set_recovered(tx, run["run_id"])

    async def _uploaded(self, tx: Transaction, run: Any, what: Uploaded) -> None:
        if not await queries.add_checkpoint(tx, run["run_id"], run["fence"], what, now()):
            return
        await queries.set_fruitful(tx, run["run_id"], what.step)
        await tx.tell(
            self._of(
                CheckpointCommitted,
                run,
                fence=run["fence"],
                step=what.step,
                uri=what.uri,
                size=what.size,
                sha256=what.sha256,
            )
        )

    async def _remarked(self, tx: Transaction, run: Any, what: Remark) -> None:
        if await queries.add_remark(tx, run, what.code, what.step):
            message = what.message[:LONGEST_REMARK]
            await tx.tell(self._of(RunRemarked, run, step=what.step, code=what.code, level=what.level, message=message))

    async def _done(self, tx: Transaction, run: Any, what: Done) -> None:
        state = run_states.after(run["state"], "adapter_stored")
        await queries.end_lease(tx, run["fence"], now(), "done")
        if state != "succeeded":
            return await self._cancelled(tx, run)
        await queries.set_state(tx, run["run_id"], state)
        recipe = msgspec.json.decode(run["recipe"], type=Recipe)
        rented_seconds, rent = await queries_machines.rented(tx, run["run_id"], now())
        await tx.tell(
            self._of(
                RunFinished,
                run,
                fence=run["fence"],
                base_model=recipe.base_model,
                dataset_id=run["dataset_id"],
                dataset_digest=run["dataset_digest"],
                dataset_uri=run["dataset_uri"],
                adapter_uri=what.adapter_uri,
                sha256=what.sha256,
                size=what.size,
                steps=what.steps,
                tokens=what.tokens,
                trained_tokens=what.trained_tokens,
                device_seconds=await queries.device_seconds(tx, run["run_id"], now()),
                train_seconds=what.train_seconds,
                memory_bytes=what.memory_bytes,
                train_loss=what.train_loss,
                eval_loss=what.eval_loss,
                interruptions=run["interruptions"],
                pauses=run["pauses"],
                lost_steps=run["lost_steps"],
                lost_seconds=run["lost_seconds"],
                rented_seconds=rented_seconds,
                rent=rent,
                seed=recipe.seed,
            )
        )
        return None

    async def _halted(self, tx: Transaction, run: Any, what: Halted) -> None:
        """It stopped when asked. If nobody here asked, the machine is going away: go on elsewhere."""
        if run["state"] not in ("stopping", "pausing"):
            evidence = f"the machine asked its processes to end; {evidence_of(what.exit_code, what.stderr)}"
            return await self.lose(tx, run["fence"], PREEMPTED, evidence, what)
        await queries.end_lease(tx, run["fence"], now(), "stopped")
        await self._stopped(tx, run)
        return None

    async def _stopped(self, tx: Transaction, run: Any, reached: int = 0) -> None:
        """The device is free as was asked: the run is over, or waits."""
        if run["state"] == "pausing":
            await set_aside(tx, run, run["stop_why"], reached=reached)
        else:
            await self._cancelled(tx, run)

    async def _cancelled(self, tx: Transaction, run: Any) -> None:
        await queries.set_state(tx, run["run_id"], "cancelled")
        spent = await queries.device_seconds(tx, run["run_id"], now())
        await tx.tell(self._of(RunCancelled, run, device_seconds=spent))

    async def _broke(self, tx: Transaction, fence: int, what: Broken) -> None:
        """Find out what it was; the child's own sentence is kept only where it named the kind itself.

        What was killed because its machine leaves needs no finding out.
        """
        killed = what.killed_for_memory
        kind = what.kind
        if kind != PREEMPTED:
            kind = classified(kind, what.exit_code, what.stderr, what.message, killed_for_memory=killed)
        evidence = evidence_of(what.exit_code, f"{what.stderr}\n{what.message}", killed_for_memory=killed)
        kept = what if kind == what.kind else msgspec.structs.replace(what, message="")
        await self.lose(tx, fence, kind, evidence, kept)

    async def not_held(self, fence: int) -> None:
        """The runner knows nothing of an attempt it was asked to stop, so nothing of it runs: its device is free."""
        async with self.db.across_tenants() as tx:
            run = await queries.holder(tx, fence)
            if run and await queries.end_lease(tx, fence, now(), "stopped"):
                await self._stopped(tx, run, run["step"])
        self.wake.set()

    async def lose(self, tx: Transaction, fence: int, kind: str, evidence: str, what: Broken | Halted | None) -> None:
        """An attempt is over without a result: free its device, then go on or give up."""
        run = await queries.holder(tx, fence)
        if run is None:
            return None
        await queries.end_lease(tx, fence, now(), "lost")
        if kind == "lost_worker" and run["leaving"]:
            kind = PREEMPTED
        reached = max(run["step"], what.step if what else 0)
        if run["state"] == "stopping" or (run["state"] == "pausing" and not is_hopeless(kind)):
            return await self._stopped(tx, run, reached)
        losses: dict[str, int] = msgspec.json.decode(run["losses"])
        history = History(
            losses=losses,
            barren=run["barren"],
            micro_tokens=run["micro_tokens"] or tokens_for(run["torch_device"]),
            run_id=run["run_id"],
        )
        message = what.message if isinstance(what, Broken) else ""
        verdict = after_loss(kind, evidence, message, history, self.backoff)
        if isinstance(verdict, Failure):
            return await self._failed(tx, run, kind, verdict)
        await self._interrupted(tx, run, verdict, losses, evidence, reached)
        return None

    async def _interrupted(
        self, tx: Transaction, run: Any, verdict: GoOn, losses: dict[str, int], evidence: str, reached: int
    ) -> None:
        losses[verdict.cause] = losses.get(verdict.cause, 0) + 1
        saved = await queries.checkpoints(tx, run["run_id"])
        resume = saved[0].step if saved else 0
        lost_steps = max(0, reached - resume)
        at = now()
        await queries.lose(
            tx,
            run["run_id"],
            "recovering",
            barren=int(verdict.barren),
            micro_tokens=verdict.micro_tokens if verdict.cause == "out_of_memory" else run["micro_tokens"],
            losses=msgspec.json.encode(losses).decode(),
            at=at,
            not_before=at + timedelta(seconds=verdict.wait) if verdict.wait else None,
            step=resume,
        )
        await queries.add_lost(tx, run["run_id"], steps=lost_steps)
        await tx.tell(
            self._of(
                RunInterrupted,
                run,
                fence=run["fence"],
                cause=verdict.cause,
                evidence=evidence,
                step=resume,
                lost_steps=lost_steps,
                wait_seconds=verdict.wait,
            )
        )

    async def _failed(self, tx: Transaction, run: Any, kind: str, failure: Failure) -> None:
        await queries.set_state(tx, run["run_id"], "failed")
        spent = await queries.device_seconds(tx, run["run_id"], now())
        recipe = msgspec.json.decode(run["recipe"], type=Recipe)
        await tx.tell(
            self._of(
                RunFailed,
                run,
                reason=failure.reason,
                evidence=failure.evidence,
                message=failure.message,
                fix=failure.fix,
                device_seconds=spent,
                remedy=with_settings(kind, failure.remedy, recipe),
            )
        )

    def _of(self, kind: type[Event], run: Any, **fields: Any) -> Event:
        return kind(tenant=run["tenant"], at=now(), run_id=run["run_id"], job_id=run["job_id"], **fields)  # type: ignore[call-arg]


def _granted(row: Any, fence: int) -> Granted:
    return Granted(
        fence=fence,
        runner=row["runner"],
        session=row["session"],
        tenant=row["tenant"],
        run_id=row["run_id"],
        steps=row["steps"],
    )
