"""Tells trackers how jobs train: several jobs at once, each under a lease, whatever the tracker does.

A turn asks the gateway what was measured since the last one, sends it outside any transaction, and writes down how far
the tracker was told. A run is opened once by each process and after each trouble: the server then says how far it was
told, so that neither a crash between sending and writing nor a lost answer makes a step appear twice.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog
from msgspec import Struct

from contracts.trackers import WANDB, Tracked, TrackerRemarked
from libs.db import DB_AWAY, Database, Transaction
from libs.db.database import now
from libs.errors import Busy, NotFound, Rejected
from libs.waking import Wake, rest
from services.notifier import tracking_queries as queries
from services.notifier.domain import tracking as domain
from services.notifier.domain.retry import Backoff
from services.notifier.domain.wandb import Standing, config_of, labels_of, payload_of, worth_showing
from services.notifier.tracking_queries import Turn
from services.notifier.wandb import Wandb

log = structlog.get_logger()

Ask = Callable[[str, str, int], Awaitable[Tracked]]
"""Asks what a tenant's job shows, and what was measured after a step; ``NotFound`` if nobody wishes that any more."""

Owe = Callable[[TrackerRemarked, Transaction], Awaitable[None]]
"""Owes people a notice of what somebody should look at."""

POLL = 5.0
"""Seconds between two looks when nobody calls."""
AT_ONCE = 8
LEASE = timedelta(seconds=120)
TURN_SECONDS = 60.0
"""Less than the lease: a turn that hangs is given up before another process may take the job over."""
GIVING_BACK = 2.0
"""Seconds that a stop waits for the database."""


class Run(Struct, frozen=True):
    """A run that this process has opened: the path its lines go to, where it stands, and when it last heard of us."""

    path: str
    standing: Standing
    heard_at: datetime


class Tracking:
    """The work loop of trackers. Tests give it a clock, a back-off without waits and a short poll."""

    def __init__(
        self,
        db: Database,
        wandb: Wandb,
        ask: Ask,
        owe: Owe,
        backoff: Backoff = domain.BACKOFF,
        *,
        wake: Wake | None = None,
        poll: float = POLL,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.db = db
        self.wandb = wandb
        self.ask = ask
        self.owe = owe
        self.backoff = backoff
        self.wake = wake or Wake()
        self.poll = poll
        self.clock = clock
        self._runs: dict[str, Run] = {}

    async def run(self) -> None:
        """Tell until cancelled; a lost database only delays."""
        places = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as turns:
            ear = self.wake.ear()
            while True:
                await places.acquire()
                ear.clear()
                turn = await self._take_if_possible()
                if turn is None:
                    places.release()
                    await rest(ear, self.poll)
                else:
                    turns.create_task(self._follow_in(turn, places))

    async def take(self) -> Turn | None:
        """Take the job that is due longest; ``None``: none is."""
        async with self.db.across_tenants() as tx:
            return await queries.take_due(tx, self.clock(), LEASE)

    async def follow(self, turn: Turn) -> None:
        """Tell a job's tracker what is new, and write down what came of it."""
        try:
            tracked = await self.ask(turn.tenant, turn.job_id, turn.step)
        except NotFound:
            await self._settle(turn, "finished")
            return
        except Busy as error:
            await self._look_again(turn, error.after)
            return
        if turn.job_id not in self._runs and not worth_showing(tracked, turn.lines):
            await self._wait_for_more(turn, tracked)
            return
        try:
            async with asyncio.timeout(TURN_SECONDS):
                whole = await self._tell(turn, tracked)
        except Rejected as error:
            await self._fail(turn, tracked, domain.refused(error.message), error.message)
        except Busy as error:
            await self._fail(turn, tracked, domain.unreachable(error.message), error.message, error.after)
        except TimeoutError:
            why = f"it does not answer within {TURN_SECONDS:g} s"
            await self._fail(turn, tracked, domain.unreachable(why), why)
        else:
            await self._note(turn, tracked, whole=whole)

    async def _tell(self, turn: Turn, tracked: Tracked) -> bool:
        """Send what is new. ``False``: the run is gone there, so it begins anew, and all has to be asked for again."""
        run = self._runs.get(turn.job_id) or await self._open(turn, tracked)
        self._runs[turn.job_id] = run
        if run.standing.step < turn.step:
            return False
        payload, standing = payload_of(tracked, run.standing)
        at = self.clock()
        if payload or at - run.heard_at >= domain.SIGN_OF_LIFE:
            await self.wandb.send(run.path, payload, tracked.api_key)
            self._runs[turn.job_id] = Run(run.path, standing, at)
        return True

    async def _open(self, turn: Turn, tracked: Tracked) -> Run:
        labels, config = labels_of(turn.job_id, tracked), config_of(turn.job_id, tracked)
        place = await self.wandb.open(turn.job_id, labels, config, tracked.api_key)
        standing = place.standing.at_least(turn.step, turn.lines) if place.found else place.standing
        return Run(place.path, standing, self.clock())

    async def _note(self, turn: Turn, tracked: Tracked, *, whole: bool) -> None:
        if whole and tracked.ended:
            await self._settle(turn, "finished")
            return
        standing, at = self._runs[turn.job_id].standing, self.clock()
        due_at = at if tracked.more or not whole else at + timedelta(seconds=domain.EVERY)
        async with self.db.transaction(turn.tenant) as tx:
            await queries.told(tx, turn, standing.step, standing.lines, due_at)

    async def _wait_for_more(self, turn: Turn, tracked: Tracked) -> None:
        """Look again whether there is a run to show; a job that ended without one has none."""
        if tracked.ended:
            await self._settle(turn, "finished")
        else:
            await self._look_again(turn, domain.look(self.clock() - turn.submitted_at))

    async def _fail(self, turn: Turn, tracked: Tracked, remark: domain.Remark, why: str, asked: float = 0.0) -> None:
        """Try again later, and tell people why, once; in the end give up and tell them that."""
        self._runs.pop(turn.job_id, None)
        at = self.clock()
        if domain.is_over(turn.failing_since, at, tracked.ended):
            await self._settle(turn, "lost", domain.lost(why))
            return
        due_at = at + timedelta(seconds=domain.wait(turn.tries + 1, asked, self.backoff))
        async with self.db.transaction(turn.tenant) as tx:
            await queries.failed(tx, turn, at, due_at)
            await self._remark(tx, turn, remark)

    async def _look_again(self, turn: Turn, seconds: float) -> None:
        async with self.db.transaction(turn.tenant) as tx:
            await queries.delay(tx, turn, self.clock() + timedelta(seconds=seconds))

    async def _settle(self, turn: Turn, state: str, remark: domain.Remark | None = None) -> None:
        self._runs.pop(turn.job_id, None)
        async with self.db.transaction(turn.tenant) as tx:
            if await queries.settle(tx, turn, state, self.clock()) and remark:
                await self._remark(tx, turn, remark)

    async def _remark(self, tx: Transaction, turn: Turn, remark: domain.Remark) -> None:
        if not await queries.remark(tx, turn.job_id, remark.code):
            return
        fact = TrackerRemarked(
            tenant=turn.tenant,
            at=self.clock(),
            job_id=turn.job_id,
            tracker=WANDB,
            code=remark.code,
            level=remark.level,
            message=remark.message,
        )
        await tx.tell(fact)
        if remark.level == "warn":
            await self.owe(fact, tx)

    async def _take_if_possible(self) -> Turn | None:
        try:
            return await self.take()
        except DB_AWAY as error:
            log.warning("trackers pause", error=repr(error))
            return None

    async def _follow_in(self, turn: Turn, places: asyncio.Semaphore) -> None:
        """Follow, and make room; what could not be written down is done again when the lease is over.

        Who is stopped meanwhile gives the job back, or the next process would wait for the lease's end.
        """
        try:
            await self.follow(turn)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError, *DB_AWAY):
                async with asyncio.timeout(GIVING_BACK):
                    await self._look_again(turn, 0)
            raise
        except Exception as error:
            self._runs.pop(turn.job_id, None)
            log.error("a tracker's turn was not written down", job=turn.job_id, exc_info=error)
        finally:
            places.release()
