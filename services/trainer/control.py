"""The control's end of the private line: what runners say becomes rows and facts, guarded by the fence.

``hello`` and ``report`` are each one transaction, as a reaction to a fact would be; a
repeated report finds its effect done and changes nothing. ``beat`` only resets a clock.
"""

import asyncio
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
from services.trainer.domain.recovery import GoOn, History, after_loss, is_hopeless
from services.trainer.domain.remedies import with_settings
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
from services.trainer.settings import TrainerSettings
from services.trainer.training.hardware import tokens_for

log = structlog.get_logger()


class Control:
    """Hears runners. ``silence`` is shared with the arbiter; ``wake`` makes the work loops look at once."""

    def __init__(
        self, db: Database, bus: Bus, settings: TrainerSettings, silence: Silence, wake: asyncio.Event
    ) -> None:
        self.db = db
        self.bus = bus
        self.settings = settings
        self.silence = silence
        self.wake = wake
        self.last_beat: dict[str, float] = {}

    async def listen(self) -> None:
        """Answer runners until cancelled. Every control hears every beat; reports go to any one of them."""
        nc = self.bus.nc
        await nc.subscribe(BEAT, cb=self._answering(Beat, self.beat))
        await nc.subscribe(HELLO, queue="trainer", cb=self._answering(Hello, self.hello))
        await nc.subscribe(REPORT, queue="trainer", cb=self._answering(Report, self.report))
        await nc.subscribe(PROGRESS, queue="trainer", cb=self._answering(ProgressReport, self.progress))
        await asyncio.Event().wait()

    def _answering(self, kind: Any, method: Any) -> Any:
        async def answer(message: Any) -> None:
            try:
                said = await method(msgspec.json.decode(message.data, type=kind))
            except Exception as error:
                log.warning("runner not answered, it will repeat", what=kind.__name__, error=repr(error))
                return
            if message.reply and said is not None:
                await self.bus.nc.publish(message.reply, encode(said))

        return answer

    async def hello(self, said: Hello) -> Answered:
        """A runner has (re)started and holds nothing: its devices are online, its former attempts lost."""
        async with self.db.across_tenants() as tx:
            for lease in await queries.open_leases(tx):
                if lease["runner"] == said.runner:
                    await self.lose(tx, lease["fence"], "lost_worker", "the runner was started anew", None)
            if not await queries_machines.leaving(tx, said.runner):
                for device in said.devices:
                    await queries.add_device(tx, said.runner, device)
        self.wake.set()
        return Answered()

    async def beat(self, said: Beat) -> Heard:
        """A runner lives; tell it which of its attempts are no longer its own."""
        self.last_beat[said.runner] = asyncio.get_running_loop().time()
        for held in said.holds:
            self.silence.heard(held.fence)
        async with self.db.across_tenants() as tx:
            open_fences = {lease["fence"] for lease in await queries.open_leases(tx)}
            known = await queries.runner_known(tx, said.runner)
        return Heard(stale=tuple(held.fence for held in said.holds if held.fence not in open_fences), known=known)

    async def progress(self, said: ProgressReport) -> None:
        """Pass a look at a run on as telemetry."""
        async with self.db.across_tenants() as tx:
            run = await queries.look(tx, said.fence)
            if run is None:
                return
            await queries.set_step(tx, said.run_id, said.seen.step)
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
        """Apply what happened to an attempt, if its fence still holds."""
        async with self.db.across_tenants() as tx:
            run = await queries.holder(tx, said.fence)
            if run is None or run["run_id"] != said.run_id:
                await self._fenced(tx, said)
                return Answered(accepted=False)
            self.silence.heard(said.fence)
            match said.what:
                case Reached():
                    await self._reached(tx, run, said.what)
                case Uploaded():
                    await self._uploaded(tx, run, said.what)
                case Quarantined():
                    await queries.quarantine(tx, said.what)
                case Remark():
                    await self._remarked(tx, run, said.what)
                case Done():
                    await self._done(tx, run, said.what)
                case Halted():
                    await self._halted(tx, run)
                case Broken():
                    await self._broke(tx, said.fence, said.what)
        self.wake.set()
        return Answered()

    async def _fenced(self, tx: Transaction, said: Report) -> None:
        """A repeated last report is harmless and common; anything else from a stale holder is told."""
        log.info("stale report", run=said.run_id, fence=said.fence, what=type(said.what).__name__)
        tenant = await queries.tenant_of(tx, said.run_id)
        if tenant and isinstance(said.what, Uploaded | Done):
            await tx.tell(
                WriteFenced(
                    tenant=tenant, at=now(), run_id=said.run_id, fence=said.fence, what=type(said.what).__name__
                )
            )

    async def _reached(self, tx: Transaction, run: Any, what: Reached) -> None:
        state = run_states.after(run["state"], "child_up")
        if state:
            await queries.set_state(tx, run["run_id"], state)
        if not run["told_started"]:
            await tx.tell(self._of(RunStarted, run, device_id=run["device_id"], fence=run["fence"]))
            await queries.set_told(tx, run["run_id"])
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
            await queries.set_told(tx, run["run_id"])

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
            remark = {"step": what.step, "code": what.code, "level": what.level, "message": what.message}
            await tx.tell(self._of(RunRemarked, run, **remark))

    async def _done(self, tx: Transaction, run: Any, what: Done) -> None:
        state = run_states.after(run["state"], "adapter_stored")
        await queries.end_lease(tx, run["fence"], now(), "done")
        if state != "succeeded":
            return await self._cancelled(tx, run)
        await queries.set_state(tx, run["run_id"], state)
        recipe = msgspec.json.decode(run["recipe"], type=Recipe)
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
                seed=recipe.seed,
            )
        )
        return None

    async def _halted(self, tx: Transaction, run: Any) -> None:
        """It stopped when asked. If nobody here asked, the machine is going away: go on elsewhere."""
        if run["state"] not in ("stopping", "pausing"):
            return await self.lose(tx, run["fence"], "lost_worker", "the machine asked its processes to end", None)
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
        """Find out what it was; the child's own sentence is kept only where it named the kind itself."""
        words = f"{what.stderr}\n{what.message}"
        killed = what.killed_for_memory
        kind = classified(what.kind, what.exit_code, words, killed_for_memory=killed)
        evidence = evidence_of(what.exit_code, words, killed_for_memory=killed)
        kept = what if kind == what.kind else msgspec.structs.replace(what, message="")
        await self.lose(tx, fence, kind, evidence, kept)

    async def not_held(self, fence: int) -> None:
        """The runner knows nothing of an attempt it was asked to stop, so nothing of it runs: its device is free."""
        async with self.db.across_tenants() as tx:
            run = await queries.holder(tx, fence)
            if run and await queries.end_lease(tx, fence, now(), "stopped"):
                await self._stopped(tx, run, run["step"])
        self.wake.set()

    async def lose(self, tx: Transaction, fence: int, kind: str, evidence: str, what: Broken | None) -> None:
        """An attempt is over without a result: free its device, then go on or give up."""
        run = await queries.holder(tx, fence)
        if run is None:
            return None
        await queries.end_lease(tx, fence, now(), "lost")
        reached = max(run["step"], what.step if what else 0)
        if run["state"] == "stopping" or (run["state"] == "pausing" and not is_hopeless(kind)):
            return await self._stopped(tx, run, reached)
        losses: dict[str, int] = msgspec.json.decode(run["losses"])
        history = History(
            losses=losses, barren=run["barren"], micro_tokens=run["micro_tokens"] or tokens_for(run["torch_device"])
        )
        verdict = after_loss(kind, evidence, what.message if what else "", history)
        if isinstance(verdict, Failure):
            return await self._failed(tx, run, kind, verdict)
        await self._interrupted(tx, run, verdict, losses, evidence, what)
        return None

    async def _interrupted(
        self, tx: Transaction, run: Any, verdict: GoOn, losses: dict[str, int], evidence: str, what: Broken | None
    ) -> None:
        losses[verdict.cause] = losses.get(verdict.cause, 0) + 1
        micro_tokens = verdict.micro_tokens if verdict.cause == "out_of_memory" else run["micro_tokens"]
        counted = msgspec.json.encode(losses).decode()
        await queries.lose(tx, run["run_id"], "recovering", micro_tokens, counted, now())
        saved = await queries.checkpoints(tx, run["run_id"])
        resume = saved[0].step if saved else 0
        reached = max(run["step"], what.step if what else 0)
        await queries.add_lost(tx, run["run_id"], steps=max(0, reached - resume))
        await tx.tell(
            self._of(
                RunInterrupted,
                run,
                fence=run["fence"],
                cause=verdict.cause,
                evidence=evidence[-2000:],
                step=resume,
                lost_steps=max(0, reached - resume),
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
                evidence=failure.evidence[-4000:],
                message=failure.message,
                fix=failure.fix,
                device_seconds=spent,
                remedy=with_settings(kind, failure.remedy, recipe),
            )
        )

    def _of(self, kind: type[Event], run: Any, **fields: Any) -> Event:
        return kind(tenant=run["tenant"], at=now(), run_id=run["run_id"], job_id=run["job_id"], **fields)  # type: ignore[call-arg]
