"""Measurements, from TELEMETRY to the open pages at once and to the read models every two seconds.

What is written says up to which message it was read, in the same transaction: after a
restart reading goes on there, and figures by step are written over, never doubled.
"""

import asyncio
from datetime import datetime
from typing import Any

import msgspec
import structlog
from msgspec import Struct, field
from nats.aio.msg import Msg

from contracts.datasets import DatasetProgressed
from contracts.runs import RunProgressed
from libs.bus import Bus
from libs.bus.streams import TELEMETRY
from libs.db import DB_AWAY, Database, Transaction
from libs.waking import rest
from services.gateway.domain import wire
from services.gateway.live import Hub, reading
from services.gateway.queries import curve as curve_queries
from services.gateway.queries import datasets as dataset_queries
from services.gateway.queries import story as queries

log = structlog.get_logger()

EVERY = 2.0
"""Seconds between two writings, unless somebody cannot wait: each takes a processor from training."""
LOOK = 0.1


class Batch(Struct):
    """What was measured since the last write: by job and step, the newest by job and by dataset."""

    sequence: int = 0
    steps: dict[tuple[str, int], RunProgressed] = field(default_factory=dict)
    runs: dict[str, RunProgressed] = field(default_factory=dict)
    imports: dict[str, DatasetProgressed] = field(default_factory=dict)

    def add(self, fact: RunProgressed | DatasetProgressed) -> None:
        """Take a measurement in."""
        match fact:
            case RunProgressed():
                self.steps[fact.job_id, fact.step] = fact
                self.runs[fact.job_id] = fact
            case DatasetProgressed():
                self.imports[fact.dataset_id] = fact


class Progress:
    """Reads measurements for the pages and for the read models."""

    def __init__(self, bus: Bus, db: Database, hub: Hub) -> None:
        self._bus = bus
        self._db = db
        self._hub = hub
        self._batch = Batch()
        self._newest_span: dict[str, int] = {}
        self._hurry = asyncio.Event()

    async def read(self) -> None:
        """Read until cancelled, from where the last write stopped."""
        last = (await self._bus.js.stream_info(TELEMETRY)).state.last_seq
        async with self._db.across_tenants() as tx:
            after = min(last, await queries.telemetry_read(tx))
        async with reading(self._bus, TELEMETRY, "tel.>", after=after) as heard:
            async for raw in heard.messages:
                self._take(raw)

    async def write(self) -> None:
        """Write now and then until cancelled; what cannot be written while the database is away is kept."""
        while True:
            await rest(self._hurry, EVERY)
            self._hurry.clear()
            if self._batch.sequence:
                batch, self._batch = self._batch, Batch()
                try:
                    await self._write(batch)
                except DB_AWAY as error:
                    log.warning("progress waits for the database", error=repr(error))
                    self._batch = _merged(batch, self._batch)

    async def caught_up(self, seconds: float) -> bool:
        """Wait until all that was measured before this moment is in the read models; ``False``: not in time."""
        state = (await self._bus.js.stream_info(TELEMETRY)).state
        last = state.last_seq if state.messages else 0
        try:
            async with asyncio.timeout(seconds):
                while await self._written() < last:
                    self._hurry.set()
                    await asyncio.sleep(LOOK)
        except TimeoutError:
            return False
        return True

    async def _written(self) -> int:
        async with self._db.across_tenants() as tx:
            return await queries.telemetry_read(tx)

    def _take(self, raw: Msg) -> None:
        self._hub.offer_raw(raw, None)
        self._batch.sequence = raw.metadata.sequence.stream
        try:
            self._batch.add(msgspec.json.decode(raw.data, type=RunProgressed | DatasetProgressed))
        except msgspec.DecodeError:
            return

    async def _write(self, batch: Batch) -> None:
        async with self._db.across_tenants(durable=False) as tx:
            await queries.add_metrics(tx, [_step_row(fact) for fact in batch.steps.values()])
            entered = {job: span for job, span in _spans(batch).items() if {self._newest_span.get(job)} != set(span)}
            if entered:
                await curve_queries.sum_up(tx, entered)
            await queries.progressed(tx, [_progress_row(fact) for fact in batch.runs.values()])
            if batch.imports:
                await _write_imports(tx, batch)
            await queries.set_telemetry_read(tx, batch.sequence)
        self._newest_span |= {job: last for job, (_, last) in entered.items()}


def _spans(batch: Batch) -> dict[str, tuple[int, int]]:
    """Return the first and the last span of steps in which each job was measured."""
    found: dict[str, tuple[int, int]] = {}
    for job, step in batch.steps:
        span = step // curve_queries.STEPS
        first, last = found.get(job, (span, span))
        found[job] = (min(first, span), max(last, span))
    return found


async def _write_imports(tx: Transaction, batch: Batch) -> None:
    rows = [(fact.dataset_id, _json(msgspec.to_builtins(fact))) for fact in batch.imports.values()]
    await dataset_queries.progressed(tx, rows)


def _merged(older: Batch, newer: Batch) -> Batch:
    return Batch(
        sequence=max(older.sequence, newer.sequence),
        steps=older.steps | newer.steps,
        runs=older.runs | newer.runs,
        imports=older.imports | newer.imports,
    )


def _step_row(fact: RunProgressed) -> tuple[Any, ...]:
    return (
        fact.job_id,
        fact.step,
        fact.attempt,
        fact.at,
        fact.epoch,
        fact.loss,
        fact.learning_rate,
        fact.grad_norm,
        fact.tokens,
        fact.tokens_per_second,
        fact.memory_bytes,
        fact.token_accuracy,
        fact.eval_loss,
        fact.reward_margin,
        fact.reward_accuracy,
        fact.eval_token_accuracy,
    )


def _progress_row(fact: RunProgressed) -> tuple[str, str, datetime]:
    progress = {name: getattr(fact, name) for name in wire.Progress.__struct_fields__}
    return fact.job_id, _json(progress), fact.at


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
