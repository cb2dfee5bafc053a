"""The scheduler's reactions, as ``services/scheduler/handlers.py`` has them, on rows in memory."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from contracts.base import Event
from contracts.datasets import DatasetReady
from contracts.jobs import (
    Estimate,
    JobCancelAsked,
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobQueued,
    JobSubmitted,
    JobSucceeded,
)
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import DeviceOffered, DeviceWithdrawn, DispatchDeclined, RunFailed, RunFinished, RunStarted
from services.scheduler.domain.job_states import State, move_on
from services.scheduler.domain.money import MILLION, charge
from services.scheduler.domain.queue import Waiting, pick
from tests.simulation.carrying import Bus, Service
from tests.simulation.clockwork import Clockwork
from tests.simulation.store import Guards, Job, Schema

TENANT = "acme"
BEGAN = datetime(2026, 11, 21, tzinfo=UTC)
RATE = 60_000
"""Millionths of the currency for an hour."""
RECIPE = Recipe(base_model=SHIPPED_MODEL)
DIGEST = "0" * 64


class SchedulerSchema(Schema):
    """The scheduler's tables."""

    def __init__(self, guards: Guards) -> None:
        super().__init__("scheduler", guards)
        self.jobs: dict[str, Job] = {}
        self.news: set[str] = set()
        self.offers: dict[str, list[Any]] = {}
        self.runs = 0


class Scheduler(Service):
    """One process of the scheduler."""

    def __init__(self, world: Clockwork, bus: Bus, schema: SchedulerSchema, estimates: dict[str, Estimate]) -> None:
        super().__init__(world, "scheduler")
        self.bus = bus
        self.schema: SchedulerSchema = schema
        self.estimates = estimates

    def take_in(self, wish: JobSubmitted) -> None:
        if wish.job_id in self.schema.jobs:
            return
        memory = self.estimates[wish.job_id].memory_bytes
        submitted = BEGAN + timedelta(microseconds=self.world.now)
        job = self.schema.jobs[wish.job_id] = Job(wish.job_id, State.VALIDATING, wish.priority, submitted, memory)
        if move := move_on(job.state, wish):
            self._end(job, move.target, JobFailed, reason="bad", message="", fix="")
        elif wish.dataset_id in self.schema.news:
            self._queue(job, State.QUEUED)
        self._match()

    def hear_of_dataset(self, ready: DatasetReady) -> None:
        self.schema.news.add(ready.dataset_id)
        for job in self.schema.jobs.values():
            if move := move_on(job.state, ready):
                self._queue(job, move.target)
        self._match()

    def take_offer(self, offered: DeviceOffered) -> None:
        self._note_offer(offered, "open")
        self._match()

    def forget_offer(self, gone: DeviceWithdrawn) -> None:
        self._note_offer(gone, "withdrawn")

    def _note_offer(self, fact: DeviceOffered | DeviceWithdrawn, state: str) -> None:
        known = self.schema.offers.get(fact.device_id)
        if known is None or known[0] < fact.version:
            self.schema.offers[fact.device_id] = [fact.version, state, fact]

    def put_back(self, declined: DispatchDeclined) -> None:
        job = self.schema.jobs[declined.job_id]
        if move := move_on(job.state, declined, job.run_id):
            self._queue(job, move.target)
        self._match()

    def follow(self, fact: RunStarted) -> None:
        job = self.schema.jobs[fact.job_id]
        if move := move_on(job.state, fact, job.run_id):
            job.state = move.target

    def succeed(self, run: RunFinished) -> None:
        job = self.schema.jobs[run.job_id]
        if move := move_on(job.state, run, job.run_id):
            job.cost = charge(round(run.device_seconds * MILLION), RATE)
            self._end(
                job, move.target, JobSucceeded, run_id=run.run_id, model="m", trained_tokens=0, seconds=0.0,
                cost=job.cost / MILLION, device_rate=RATE / MILLION,
            )  # fmt: skip

    def give_up(self, run: RunFailed) -> None:
        job = self.schema.jobs[run.job_id]
        if move := move_on(job.state, run, job.run_id):
            self._end(job, move.target, JobFailed, reason=run.reason, message="", fix="")

    def cancel(self, asked: JobCancelAsked) -> None:
        job = self.schema.jobs.get(asked.job_id)
        if job is None:
            job = self.schema.jobs[asked.job_id] = Job(asked.job_id, State.UNKNOWN, "medium", BEGAN, 0)
        if move := move_on(job.state, asked):
            self._end(job, move.target, JobCancelled)

    def _end(self, job: Job, state: State, kind: type[Event], **fields: Any) -> None:
        job.state = state
        self.world.note(self, f"{job.job_id} is {state}")
        self._tell(kind, job_id=job.job_id, **fields)

    def _queue(self, job: Job, state: State) -> None:
        job.state = state
        self._tell(JobQueued, job_id=job.job_id, recipe=RECIPE, estimate=self.estimates[job.job_id])

    def _match(self) -> None:
        offers = sorted((known[0], known) for known in self.schema.offers.values() if known[1] == "open")
        jobs = self.schema.jobs.values()
        waiting = [_waiting(job) for job in jobs if job.state is State.QUEUED] if offers else []
        for _, known in offers:
            if turn := pick(waiting, known[2].memory_bytes):
                waiting.remove(turn)
                self._dispatch(self.schema.jobs[turn.job_id], known)

    def _dispatch(self, job: Job, known: list[Any]) -> None:
        offer = known[2]
        move = move_on(job.state, offer)
        assert move
        self.schema.runs += 1
        job.state, job.run_id, known[1] = move.target, f"run-{self.schema.runs}", "taken"
        self.world.note(self, f"{job.job_id} goes to {offer.device_id} as {job.run_id}")
        self._tell(
            JobDispatched, job_id=job.job_id, run_id=job.run_id, offer_id=offer.offer_id, device_id=offer.device_id,
            recipe=RECIPE, estimate=self.estimates[job.job_id], dataset_id="ds", dataset_digest=DIGEST, dataset_uri="u",
        )  # fmt: skip

    def _tell(self, kind: type[Event], **fields: Any) -> None:
        self.schema.tell(kind(tenant=TENANT, at=BEGAN, **fields))

    reactions: ClassVar[Any] = {
        JobSubmitted: take_in,
        DatasetReady: hear_of_dataset,
        DeviceOffered: take_offer,
        DeviceWithdrawn: forget_offer,
        DispatchDeclined: put_back,
        RunStarted: follow,
        RunFinished: succeed,
        RunFailed: give_up,
        JobCancelAsked: cancel,
    }


def _waiting(job: Job) -> Waiting:
    return Waiting(
        tenant=TENANT,
        job_id=job.job_id,
        priority=job.priority,
        submitted_at=job.submitted_at,
        memory_bytes=job.memory,
    )
