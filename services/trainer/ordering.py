"""What runners are told: start this attempt, end that one; repeated until taken.

Each order waits for its own runner alone: one that is frozen keeps nobody else from starting or ending.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import nats.errors
import structlog

from contracts.recipes import Recipe
from libs.db import DB_AWAY, Transaction
from libs.db.database import now
from services.trainer import queries_checkpoints, queries_leases, queries_machines
from services.trainer.control import Control
from services.trainer.domain.budget import seconds_paid, tighter
from services.trainer.domain.saving import Rule, rule_for
from services.trainer.domain.time_limit import seconds_left
from services.trainer.line import Answered, Launch, Stop, encode, mark_of, order_subject

log = structlog.get_logger()

TEMPORARY = (*DB_AWAY, nats.errors.Error)
PATIENCE = 5.0
"""Seconds a runner has to take an order."""
AGAIN = 1.0
"""Seconds until an order that was not taken is given again."""


class Ordering:
    """Gives the orders that are due; each is one of the tasks ``under_way``."""

    def __init__(self, control: Control, under_way: asyncio.TaskGroup) -> None:
        self._control = control
        self._under_way = under_way
        self._waiting: set[int] = set()

    async def give(self) -> None:
        """Tell runners what to start and what to end, unless they are being told."""
        async with self._control.db.across_tenants() as tx:
            starts = [await self._starting(tx, row) for row in await queries_leases.unlaunched(tx)]
            stops = await queries_leases.stopping(tx)
        for row, launch in starts:
            self._begin(row["fence"], self._start(row, launch))
        for row in stops:
            self._begin(row["fence"], self._stop(row))

    def _begin(self, fence: int, order: Coroutine[Any, Any, None]) -> None:
        if fence in self._waiting:
            order.close()
            return
        self._waiting.add(fence)
        self._under_way.create_task(self._carry(fence, order))

    async def _carry(self, fence: int, order: Coroutine[Any, Any, None]) -> None:
        try:
            await order
        except TEMPORARY as error:
            log.warning("an order waits", fence=fence, error=repr(error))
        finally:
            self._waiting.discard(fence)
            asyncio.get_running_loop().call_later(AGAIN, self._control.wake.set)

    async def _start(self, row: Any, launch: Launch) -> None:
        taken = await self._ask(row["runner"], "launch", launch)
        if taken and taken.accepted:
            async with self._control.db.across_tenants() as tx:
                await queries_leases.set_launched(tx, row["fence"])

    async def _stop(self, row: Any) -> None:
        grace = self._control.settings.grace_seconds
        held = await self._ask(row["runner"], "stop", Stop(run_id=row["run_id"], fence=row["fence"], grace=grace))
        if held and not held.accepted:
            await self._control.not_held(row["fence"])

    async def _starting(self, tx: Transaction, row: Any) -> tuple[Any, Launch]:
        spent = await queries_leases.device_seconds(tx, row["run_id"], now())
        settings = self._control.settings
        cost = await queries_machines.cost(tx, row["run_id"], now(), settings.device_rate)
        paid = seconds_paid(row["budget"], cost, settings.device_rate if row["price"] is None else row["price"])
        rule = rule_for(settings.mean_seconds_between_losses, settings.saving_share)
        return row, _launch(row, await queries_checkpoints.resumable(tx, row["run_id"]), spent, paid, rule)

    async def _ask(self, runner: str, what: str, order: Launch | Stop) -> Answered | None:
        """Give a runner an order; ``None``: it does not answer."""
        try:
            reply = await self._control.bus.nc.request(order_subject(runner, what), encode(order), timeout=PATIENCE)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            log.warning("runner does not answer", runner=runner, order=what)
            return None
        return msgspec.json.decode(reply.data, type=Answered)


def _launch(row: Any, saved: tuple[Any, ...], spent: float, paid: float, rule: Rule) -> Launch:
    recipe = msgspec.json.decode(row["recipe"], type=Recipe)
    left, limit = tighter(seconds_left(recipe.time_limit, spent), paid)
    return Launch(
        tenant=row["tenant"],
        run_id=row["run_id"],
        job_id=row["job_id"],
        attempt=row["attempt"],
        fence=row["fence"],
        device_id=row["device_id"],
        recipe=recipe,
        dataset_uri=row["dataset_uri"],
        dataset_digest=row["dataset_digest"],
        checkpoint_every=row["checkpoint_every"],
        saving=rule,
        micro_tokens=row["micro_tokens"],
        seconds_left=left,
        limit=limit,
        checkpoints=saved,
        mark=mark_of(row["session"]),
    )
