"""The work loop: take an evaluation under a lease, carry it out while renewing, apply what came if still its holder."""

import asyncio
import time

import structlog

from contracts.evaluations import (
    EvaluationFailed,
    EvaluationProgressed,
    EvaluationStarted,
    ReportReady,
    SuiteScored,
)
from libs.bus import Bus
from libs.db import Database
from libs.db.database import now
from libs.errors import Busy
from libs.service import Platform
from libs.storage import Storage
from libs.waking import rest
from services.evaluator import queries, releasing
from services.evaluator.carrying_out import Cannot, Died, Proof, carry_out
from services.evaluator.domain.serving import Compared
from services.evaluator.domain.verdicts import Score
from services.evaluator.queries import Held
from services.evaluator.scoring.shapes import Failure, Line, Progress
from services.evaluator.settings import Settings

log = structlog.get_logger()

POLL = 5.0
TOLD_EVERY = 0.5
RETRY_AFTER = 10.0


class Evaluations:
    """Carries out one evaluation after the other."""

    def __init__(self, settings: Settings, platform: Platform, wake: asyncio.Event) -> None:
        self.settings = settings
        self.db: Database = platform.db
        self.bus: Bus = platform.bus
        self.storage: Storage = platform.storage
        self.wake = wake

    async def run(self) -> None:
        """Work until cancelled: woken by a handler, and looking every few seconds."""
        while True:
            self.wake.clear()
            try:
                while (held := await self.take()) is not None:
                    await self.work(held)
            except Exception as error:
                log.error("evaluation loop stumbled", error=repr(error), exc_info=error)
            await rest(self.wake, POLL)

    async def take(self) -> Held | None:
        """Take the next evaluation under a lease; its first taking is told."""
        async with self.db.across_tenants() as tx:
            held = await queries.take(tx, self.settings.lease)
            if held is not None and held.attempts == 1:
                await tx.tell(_started(held))
        return held

    async def work(self, held: Held) -> None:
        """Carry it out while renewing the lease; whatever comes of it is applied if it is still ours."""
        with structlog.contextvars.bound_contextvars(tenant=held.tenant, job=held.run.job_id, evaluation=held.id):
            try:
                proof = await self._while_held(held)
            except asyncio.CancelledError:
                await self._give_back(held, 0.0, free=True)
                raise
            except Cannot as error:
                await self._fail(held, error.failure)
            except TimeoutError:
                await self._fail(held, Failure("time_limit", _too_long(self.settings.time_limit)))
            except Lost:
                log.warning("evaluation lost to another", fence=held.fence)
            except Exception as error:
                await self._again(held, error)
            else:
                await self._finish(held, proof)

    async def _while_held(self, held: Held) -> Proof:
        """Carry out and renew side by side; ``Lost`` when the lease went to another."""
        work = asyncio.create_task(self._carry_out(held))
        renewing = asyncio.create_task(self._renew(held))
        try:
            await asyncio.wait({work, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Lost
            return await work
        finally:
            for task in (work, renewing):
                task.cancel()
            await asyncio.gather(work, renewing, return_exceptions=True)

    async def _carry_out(self, held: Held) -> Proof:
        async with asyncio.timeout(self.settings.time_limit):
            return await carry_out(held, self.settings, self.storage, Teller(held, self.bus, self.db))

    async def _renew(self, held: Held) -> None:
        """Renew three times a lease; return when it is no longer ours or can no longer be known to be."""
        heard = time.monotonic()
        while time.monotonic() - heard < self.settings.lease:
            await asyncio.sleep(self.settings.lease / 3)
            try:
                async with asyncio.timeout(self.settings.lease / 3), self.db.transaction(held.tenant) as tx:
                    if not await queries.renew(tx, held, self.settings.lease):
                        return
                heard = time.monotonic()
            except Exception as error:
                log.info("lease not renewed", error=repr(error))

    async def _finish(self, held: Held, proof: Proof) -> None:
        data = proof.data
        async with self.db.transaction(held.tenant) as tx:
            if not await queries.finish(tx, held, data.verdict, data.headline, now()):
                return
            for score in data.scores:
                await queries.add_score(tx, held, score)
                await tx.tell(_scored(held, score))
            await tx.tell(_ready(held, proof))
        log.info("report ready", verdict=data.verdict)

    async def _fail(self, held: Held, failure: Failure) -> None:
        async with self.db.transaction(held.tenant) as tx:
            if await queries.fail(tx, held, failure.reason, failure.message, now()):
                await tx.tell(_failed(held, failure))
        log.warning("evaluation failed", reason=failure.reason)

    async def _again(self, held: Held, error: Exception) -> None:
        """Queue it once more, unless it was tried often enough; waiting for something costs no try."""
        log.warning("evaluation interrupted", error=repr(error), attempt=held.attempts, exc_info=error)
        busy = isinstance(error, Busy)
        if busy or held.attempts < self.settings.attempts:
            await self._give_back(held, error.after if isinstance(error, Busy) else RETRY_AFTER, free=busy)
        else:
            reason = "process_died" if isinstance(error, Died) else "unknown"
            await self._fail(held, Failure(reason, _gave_up(held.attempts)))

    async def _give_back(self, held: Held, after: float, *, free: bool) -> None:
        async with self.db.transaction(held.tenant) as tx:
            await queries.give_back(tx, held, after, free=free)


class Lost(Exception):
    """The lease went to another, or cannot be shown to be ours: stop, and write nothing."""


class Teller:
    """Tells what the gate found as a fact, and progress as telemetry, at most twice a second."""

    def __init__(self, held: Held, bus: Bus, db: Database) -> None:
        self.held = held
        self.bus = bus
        self.db = db
        self._told = 0.0

    async def __call__(self, line: Line) -> None:
        """Tell a line of the measuring process; one look of progress is left out if the last was just now."""
        if isinstance(line, Compared):
            await releasing.decide(self.db, self.held, line)
        elif time.monotonic() - self._told >= TOLD_EVERY:
            self._told = time.monotonic()
            await self._publish(line)

    async def _publish(self, line: Progress) -> None:
        await self.bus.publish_telemetry(
            EvaluationProgressed(
                tenant=self.held.tenant,
                at=now(),
                evaluation_id=self.held.id,
                job_id=self.held.run.job_id,
                suite=line.suite,
                done=line.done,
                total=line.total,
                share=line.share,
                eta_seconds=line.left,
            )
        )


def _started(held: Held) -> EvaluationStarted:
    return EvaluationStarted(
        tenant=held.tenant,
        at=now(),
        evaluation_id=held.id,
        job_id=held.run.job_id,
        run_id=held.run.run_id,
        suites=held.suites,
    )


def _scored(held: Held, score: Score) -> SuiteScored:
    return SuiteScored(
        tenant=held.tenant,
        at=now(),
        evaluation_id=held.id,
        job_id=held.run.job_id,
        suite=score.suite,
        base=score.base,
        tuned=score.tuned,
        change=score.change.value,
        low=score.change.low,
        high=score.change.high,
        verdict=score.verdict,
        items=score.items,
    )


def _ready(held: Held, proof: Proof) -> ReportReady:
    return ReportReady(
        tenant=held.tenant,
        at=now(),
        evaluation_id=held.id,
        job_id=held.run.job_id,
        pdf_uri=proof.uris["pdf"],
        html_uri=proof.uris["html"],
        json_uri=proof.uris["json"],
        pdf_sha256=proof.digests["pdf"],
        html_sha256=proof.digests["html"],
        json_sha256=proof.digests["json"],
        verdict=proof.data.verdict,
        headline=proof.data.headline,
    )


def _failed(held: Held, failure: Failure) -> EvaluationFailed:
    return EvaluationFailed(
        tenant=held.tenant,
        at=now(),
        evaluation_id=held.id,
        job_id=held.run.job_id,
        reason=failure.reason,
        message=failure.message,
    )


def _too_long(limit: float) -> str:
    return (
        f"Measuring took longer than {limit:.0f} s and was stopped; the adapter is untouched. "
        "Raise WOODSHED_EVALUATOR_TIME_LIMIT or lower WOODSHED_EVALUATOR_EXAMPLES."
    )


def _gave_up(attempts: int) -> str:
    return (
        f"The proof was tried {attempts} times and its process ended each time without a result; the adapter is "
        "untouched. The evaluator's log has the cause: most often memory ran out."
    )
