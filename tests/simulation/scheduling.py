"""The scheduler's reactions, as ``services/scheduler/handlers.py`` has them, on rows in memory."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from contracts.base import Event
from contracts.datasets import DatasetReady, DatasetRefused
from contracts.jobs import (
    Estimate,
    JobCancelAsked,
    JobCancelled,
    JobDispatched,
    JobFailed,
    JobPauseAsked,
    JobPaused,
    JobQueued,
    JobResumeAsked,
    JobResumed,
    JobStopping,
    JobSubmitted,
    JobSucceeded,
)
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import (
    DeviceOffered,
    DeviceWithdrawn,
    DispatchDeclined,
    RunFailed,
    RunFinished,
    RunPaused,
    RunStarted,
)
from services.scheduler.domain.job_states import AT_WORK, LETTING_GO, ON_DEVICE, State, move_on
from services.scheduler.domain.money import MILLION, charge
from services.scheduler.domain.queue import AtWork, Room, Waiting, making_way, more_urgent_than, turns
from tests.simulation.carrying import Bus, Service
from tests.simulation.clockwork import SECOND, Clockwork
from tests.simulation.store import Guards, Job, Schema

TENANT = "acme"
BEGAN = datetime(2026, 11, 21, tzinfo=UTC)
RATE = 60_000
"""Millionths of the currency for an hour."""
RECIPE = Recipe(base_model=SHIPPED_MODEL)
DIGEST = "0" * 64
COMING = 30 * SECOND


class SchedulerSchema(Schema):
    """The scheduler's tables."""

    def __init__(self, guards: Guards) -> None:
        super().__init__("scheduler", guards)
        self.jobs: dict[str, Job] = {}
        self.news: dict[str, DatasetReady | DatasetRefused] = {}
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
        job = self.schema.jobs.setdefault(wish.job_id, Job(wish.job_id, State.UNKNOWN))
        if job.wish or job.state is State.CANCELLED:
            return
        if job.state is not State.PAUSED:
            job.state = State.VALIDATING
        job.wish, job.priority, job.memory = wish, wish.priority, self.estimates[wish.job_id].memory_bytes
        job.submitted_at = self._now()
        self._go_on(job)
        self._match()

    def _go_on(self, job: Job) -> None:
        news = self.schema.news.get(job.wish.dataset_id)
        if (
            move := move_on(job.state, job.wish) or (news and move_on(job.state, news))
        ) and move.target is State.QUEUED:
            self._queue(job, move.target)
        elif move:
            self._end(job, move.target, JobFailed, reason="bad", message="", fix="")

    def hear_of_dataset(self, news: DatasetReady | DatasetRefused) -> None:
        self.schema.news.setdefault(news.dataset_id, news)
        for job in self.schema.jobs.values():
            if job.wish and job.state is State.VALIDATING:
                self._go_on(job)
        self._match()

    def take_offer(self, offered: DeviceOffered) -> None:
        self._note_offer(offered, "open")
        self._match()

    def forget_offer(self, gone: DeviceWithdrawn) -> None:
        self._note_offer(gone, "withdrawn")

    def _note_offer(self, fact: DeviceOffered | DeviceWithdrawn, state: str) -> None:
        known = self.schema.offers.get(fact.device_id)
        if known is None or known[0] < fact.version:
            self.schema.offers[fact.device_id] = [fact.version, state, fact, self.world.now]

    def come_back(self, fact: DispatchDeclined | RunPaused) -> None:
        job = self.schema.jobs[fact.job_id]
        if move := move_on(job.state, fact, job.run_id):
            if isinstance(fact, RunPaused):
                job.begun = True
                self._let_go(job)
            if move.target is State.PAUSED:
                job.state = move.target
                self._tell(JobPaused, job_id=job.job_id)
            else:
                self._queue(job, move.target)
        self._match()

    def pause(self, asked: JobPauseAsked) -> None:
        job = self._hear_wish(asked)
        if job and (move := move_on(job.state, asked)):
            job.state = move.target
            if move.target is State.PAUSED:
                self._tell(JobPaused, job_id=job.job_id)
            else:
                self._tell(JobStopping, **_stopping(job, "pause"))

    def resume(self, asked: JobResumeAsked) -> None:
        job = self._hear_wish(asked)
        if job and (move := move_on(job.state, asked)):
            job.state = move.target
            self._tell(JobResumed, job_id=job.job_id, status="queued")
            if job.wish and move.target is State.VALIDATING:
                self._go_on(job)
                self._match()

    def _hear_wish(self, asked: JobPauseAsked | JobResumeAsked) -> Job | None:
        job = self.schema.jobs.setdefault(asked.job_id, Job(asked.job_id, State.UNKNOWN))
        if job.wish_version >= asked.version:
            return None
        job.wish_version = asked.version
        return job

    def note_start(self, fact: RunStarted) -> None:
        self._follow(fact)

    def _follow(self, fact: RunStarted | RunFinished | RunFailed | JobCancelAsked) -> Job | None:
        job = self.schema.jobs[fact.job_id]
        move = move_on(job.state, fact, job.run_id)
        if move is None:
            return None
        before, job.state = job.state, move.target
        if before in ON_DEVICE and move.target not in ON_DEVICE:
            self._let_go(job)
        return job

    def _let_go(self, job: Job) -> None:
        known = self.schema.offers.get(job.offer.device_id)
        if known and known[1] == "taken" and known[2].offer_id == job.offer.offer_id:
            known[1], known[3] = "coming", self.world.now

    def succeed(self, run: RunFinished) -> None:
        if job := self._follow(run):
            job.cost = charge(round(run.device_seconds * MILLION), RATE)
            self._end(
                job, job.state, JobSucceeded, run_id=run.run_id, model="m", trained_tokens=0, seconds=0.0,
                cost=job.cost / MILLION, device_rate=RATE / MILLION,
            )  # fmt: skip

    def give_up(self, run: RunFailed) -> None:
        if job := self._follow(run):
            self._end(job, job.state, JobFailed, reason=run.reason, message="", fix="")

    def cancel(self, asked: JobCancelAsked) -> None:
        self.schema.jobs.setdefault(asked.job_id, Job(asked.job_id, State.UNKNOWN))
        if job := self._follow(asked):
            self._end(job, job.state, JobCancelled, offer_id=job.offer.offer_id if job.offer else "")

    def _end(self, job: Job, state: State, kind: type[Event], **fields: Any) -> None:
        job.state = state
        self.world.note(self, f"{job.job_id} is {state}")
        self._tell(kind, job_id=job.job_id, **fields)

    def _queue(self, job: Job, state: State) -> None:
        job.state = state
        self._tell(JobQueued, job_id=job.job_id, recipe=RECIPE, estimate=self.estimates[job.job_id])

    def _match(self) -> None:
        offers = sorted((known[0], known) for known in self.schema.offers.values() if known[1] == "open")
        if offers:
            waiting = [_waiting(job) for job in self.schema.jobs.values() if job.state is State.QUEUED]
            for index, turn in turns(waiting, [known[2] for _, known in offers]):
                self._dispatch(self.schema.jobs[turn.job_id], offers[index][1])
        self._make_way()

    def _make_way(self) -> None:
        jobs = self.schema.jobs.values()
        at_work = [_at_work(job, self._alone(job)) for job in jobs if job.state in AT_WORK]
        above = more_urgent_than(each.priority for each in at_work)
        urgent = [_waiting(job) for job in jobs if job.state is State.QUEUED and job.priority in above]
        coming = [Room(job.offer.memory_bytes) for job in jobs if job.state in LETTING_GO]
        recent = self.world.now - COMING
        offers = self.schema.offers.values()
        coming += [Room(known[2].memory_bytes) for known in offers if known[1] == "coming" and known[3] > recent]
        for chosen in making_way(urgent, at_work, coming):
            job = self.schema.jobs[chosen.job_id]
            stopping = JobStopping(tenant=TENANT, at=BEGAN, **_stopping(job, "preempt"))
            if move := move_on(job.state, stopping):
                self.world.counts["made way"] += 1
                self.world.note(self, f"{job.job_id} makes way")
                job.state = move.target
                self.schema.tell(stopping)

    def _dispatch(self, job: Job, known: list[Any]) -> None:
        offer = known[2]
        move = move_on(job.state, offer)
        assert move
        if not job.begun:
            self.schema.runs += 1
            job.run_id = f"run-{self.schema.runs}"
        job.state, job.offer, job.started_at, known[1] = move.target, offer, self._now(), "taken"
        self.world.note(self, f"{job.job_id} goes to {offer.device_id} as {job.run_id}")
        self._tell(
            JobDispatched, job_id=job.job_id, run_id=job.run_id, offer_id=offer.offer_id, device_id=offer.device_id,
            recipe=RECIPE, estimate=self.estimates[job.job_id], dataset_id="ds", dataset_digest=DIGEST, dataset_uri="u",
        )  # fmt: skip

    def _alone(self, job: Job) -> bool:
        on_it = [other for other in self.schema.jobs.values() if other.state in AT_WORK]
        return sum(other.offer.device_id == job.offer.device_id for other in on_it) == 1

    def _now(self) -> datetime:
        return BEGAN + timedelta(microseconds=self.world.now)

    def _tell(self, kind: type[Event], **fields: Any) -> None:
        self.schema.tell(kind(tenant=TENANT, at=BEGAN, **fields))

    reactions: ClassVar[Any] = {
        JobSubmitted: take_in,
        DatasetReady: hear_of_dataset,
        DatasetRefused: hear_of_dataset,
        DeviceOffered: take_offer,
        DeviceWithdrawn: forget_offer,
        DispatchDeclined: come_back,
        RunPaused: come_back,
        RunStarted: note_start,
        RunFinished: succeed,
        RunFailed: give_up,
        JobPauseAsked: pause,
        JobResumeAsked: resume,
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


def _at_work(job: Job, alone: bool) -> AtWork:
    return AtWork(
        tenant=TENANT,
        job_id=job.job_id,
        priority=job.priority,
        started_at=job.started_at,
        memory_bytes=job.offer.memory_bytes if alone else job.memory,
    )


def _stopping(job: Job, why: str) -> dict[str, str]:
    return {"job_id": job.job_id, "run_id": job.run_id or "", "offer_id": job.offer.offer_id, "why": why}
