"""One small world from a seed: jobs, machines and misfortunes; lived to its end, and judged.

First everything goes wrong that the dice say; then misfortune ceases, everybody comes back, and whatever was accepted
must come to its one end.
"""

from collections import Counter
from typing import NamedTuple

from contracts.base import Event
from contracts.datasets import DatasetReady, DatasetRefused
from contracts.jobs import (
    Estimate,
    JobCancelAsked,
    JobCancelled,
    JobFailed,
    JobPauseAsked,
    JobResumeAsked,
    JobSubmitted,
    JobSucceeded,
    Overrides,
)
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import RunCancelled, RunFailed, RunFinished
from services.scheduler.domain.job_states import FINAL, State
from services.scheduler.domain.money import charge
from services.trainer.domain import run_states
from tests.simulation.carrying import Bus, Line, Trouble
from tests.simulation.clockwork import SECOND, Actor, Clockwork
from tests.simulation.controlling import Control
from tests.simulation.running import Runner, Task
from tests.simulation.scheduling import BEGAN, DIGEST, RATE, TENANT, Scheduler, SchedulerSchema
from tests.simulation.store import Guards, Schema, TrainerSchema, Violation

CHAOS = 45 * SECOND
SOONEST = 30 * SECOND
LONGEST = 9000 * SECOND
GIGABYTE = 10**9
KINDS = ("lost_worker", "lost_worker", "infrastructure", "out_of_memory", "user_data", "bug")


class Outcome(NamedTuple):
    """What became of a world: ``violation`` is empty when all held; ``counts`` says what bit."""

    seed: int
    violation: str
    counts: Counter[str]
    lines: list[str]


class World(Clockwork):
    """Everybody, and what happens to them."""

    def __init__(self, seed: int, guards: Guards, *, trace: bool) -> None:
        super().__init__(seed, trace=trace)
        rng = self.rng
        self.trouble = Trouble(self)
        self.bus = Bus(self, self.trouble)
        line = Line(self, self.trouble)
        self.gateway = Schema("gateway", guards)
        self.scheduling = SchedulerSchema(guards)
        self.training = TrainerSchema(guards)
        tasks = {f"job-{n}": self._task() for n in range(rng.choice((1, 2, 2, 3)))}
        estimates = {job: self._estimate(task) for job, task in tasks.items()}
        self.jobs = list(tasks)
        self.tasks = tasks
        self.schedulers = [Scheduler(self, self.bus, self.scheduling, estimates)]
        self.controls = [
            Control(self, f"control-{n}", self.bus, line, self.training) for n in range(rng.choice((1, 2)))
        ]
        self.objects = self.controls[0].objects
        self.runners = [
            Runner(
                self,
                f"runner-{n}",
                line,
                {f"dev-{n}-{d}": 8 * GIGABYTE for d in range(rng.choice((1, 1, 2)))},
                rng.random() < 0.4,
                tasks,
                self.objects,
            )
            for n in range(rng.choice((1, 2)))
        ]
        self.front = Actor(self, "gateway")
        self.bus.processes = {"gateway": [self.front], "scheduler": self.schedulers, "trainer": self.controls}  # type: ignore[dict-item]
        for control in self.controls:
            control.objects = self.objects
            control.runners = {runner.name: runner for runner in self.runners}
        for runner in self.runners:
            runner.controls = self.controls
            runner.start()
        self._people()
        for _ in range(rng.choice((0, 1, 2, 3, 4, 6))):
            self.later(self.between(0, CHAOS), None, self._misfortune)
        self.later(CHAOS, None, self._peace)

    def _task(self) -> Task:
        rng = self.rng
        steps = rng.randrange(3, 10)
        fragile = rng.random() < 0.2
        return Task(
            steps=steps,
            step_time=self.between(SECOND // 3, 2 * SECOND),
            breaks_at=rng.randrange(1, steps + 1) if fragile else 0,
            kind=rng.choice(KINDS),
            times=rng.choice((1, 1, 2, 100)),
        )

    def _estimate(self, task: Task) -> Estimate:
        seconds = task.steps * task.step_time / SECOND
        return Estimate(
            seconds=seconds, seconds_low=seconds, seconds_high=seconds, cost=0.0, currency="EUR",
            memory_bytes=self.rng.choice((GIGABYTE, 6 * GIGABYTE)), steps=task.steps, tokens=1,
        )  # fmt: skip

    def _people(self) -> None:
        for job in self.jobs:
            at = self.between(0, 20 * SECOND)
            priority = self.rng.choice(("high", "medium", "low"))
            wish = JobSubmitted(
                tenant=TENANT, at=BEGAN, job_id=job, dataset_id="ds", training_file="f", base_model=SHIPPED_MODEL,
                preset="quick", overrides=Overrides(), seed=1, priority=priority,
            )  # fmt: skip
            self.later(at, None, self._say, wish)
            if self.rng.random() < 0.25:
                asked = JobCancelAsked(tenant=TENANT, at=BEGAN, job_id=job)
                self.later(at + self.between(0, 40 * SECOND), None, self._say, asked)
            if self.rng.random() < 0.3:
                self._hold_back(job, at + self.between(0, 30 * SECOND))
        refused = DatasetRefused(tenant=TENANT, at=BEGAN, dataset_id="ds", code="bad", message="")
        ready = DatasetReady(
            tenant=TENANT, at=BEGAN, dataset_id="ds", digest=DIGEST, uri="u", base_model="m", format="f",
            train_examples=1, validation_examples=1, test_examples=1, train_tokens=1, trained_tokens=1, truncated=0,
        )  # fmt: skip
        news = refused if self.rng.random() < 0.03 else ready
        self.later(self.between(0, 20 * SECOND), None, self._say, news)

    def _hold_back(self, job: str, at: int) -> None:
        """Pause a job and let it go on, once or twice: the last wish is that it goes on."""
        for version in range(1, 2 * self.rng.choice((1, 2)) + 1):
            kind = JobPauseAsked if version % 2 else JobResumeAsked
            self.later(at, None, self._say, kind(tenant=TENANT, at=BEGAN, version=version, job_id=job))
            at += self.between(0, 15 * SECOND)

    def _say(self, fact: Event) -> None:
        self.note("person", f"{type(fact).__name__} {getattr(fact, 'job_id', '')}")
        self.gateway.tell(fact)
        self.bus.relay(self.gateway)

    def _misfortune(self) -> None:
        """Let one thing go wrong, whichever the dice say."""
        rng = self.rng
        runner, control = rng.choice(self.runners), rng.choice(self.controls)
        short, long = self.between(SECOND, 8 * SECOND), self.between(8 * SECOND, 35 * SECOND)
        match rng.randrange(12):
            case 0:
                self._bites("runner crash", runner)
                runner.crash(rng.choice((short, long)))
            case 1:
                self._bites("child killed", runner)
                runner.lose_children()
            case 2 | 3:
                self._bites("runner frozen", runner)
                runner.frozen_until = self.now + rng.choice((short, long))
            case 4:
                self._bites("runner cut off", runner)
                runner.cut_off_until = self.now + rng.choice((short, long))
            case 5:
                self._bites("spot notice", runner)
                runner.leave(self.between(SECOND, 5 * SECOND))
                self.later(6 * SECOND, None, runner.crash, long)
            case 6:
                self._bites("control crash", control)
                control.crash(rng.choice((short, long)))
            case 7:
                self._bites("control frozen", control)
                control.frozen_until = self.now + rng.choice((short, long))
            case 8:
                self._bites("scheduler crash", self.schedulers[0])
                self.schedulers[0].crash(short)
            case 9:
                self._bites("broker outage", "broker")
                self.broker_back_at = self.now + rng.choice((short, long))
            case 10:
                self._bites("database outage", "database")
                self.database_back_at = self.now + rng.choice((short, long))
            case 11:
                self._bites("clock step", control)
                control.clock_step += rng.choice((-3600, 3600)) * SECOND
        if self.objects and rng.random() < 0.1:
            self._bites("checkpoint lost", "storage")
            self.objects.pop(rng.choice([uri for uri in self.objects if "/" in uri] or [""]), None)

    def _bites(self, what: str, whom: Actor | str) -> None:
        self.counts[what] += 1
        self.note(whom, f"— {what} —")

    def _peace(self) -> None:
        self.note("everybody", "— misfortune ceases —")
        self.trouble.cease()
        for control in self.controls:
            control.clock_step = 0

    def settled(self) -> bool:
        """Whether everybody is done and nothing is under way."""
        return (
            self.now > SOONEST
            and not self.bus.under_way
            and not (self.gateway.outbox or self.scheduling.outbox or self.training.outbox)
            and not self.training.open
            and len(self.scheduling.jobs) == len(self.jobs)
            and all(job.state in FINAL for job in self.scheduling.jobs.values())
            and all(run.state in run_states.FINAL for run in self.training.runs.values())
        )


def live(seed: int, guards: Guards = Guards(), *, trace: bool = False) -> Outcome:  # noqa: B008
    """Live one world to its end and judge it."""
    world = World(seed, guards, trace=trace)
    ends: dict[str, list[type[Event]]] = {}
    watched = (JobSucceeded, JobFailed, JobCancelled, RunFinished, RunFailed, RunCancelled)
    for schema in (world.scheduling, world.training):
        _watch(schema, watched, ends)
    try:
        settled = world.run(LONGEST, world.settled)
        violation = _judged(world, ends, settled)
    except Violation as found:
        violation = str(found)
    for job in world.scheduling.jobs.values():
        world.counts[f"jobs {job.state}"] += 1
    return Outcome(seed, violation, world.counts, world.lines or [])


def _watch(schema: Schema, kinds: tuple[type[Event], ...], ends: dict[str, list[type[Event]]]) -> None:
    """Note each end the moment it is told."""
    tell = schema.tell

    def watching(fact: Event) -> None:
        if isinstance(fact, kinds):
            about = fact.job_id if type(fact) in (JobSucceeded, JobFailed, JobCancelled) else fact.run_id  # type: ignore[attr-defined]
            ends.setdefault(about, []).append(type(fact))
        tell(fact)

    schema.tell = watching  # type: ignore[method-assign]


def _judged(world: World, ends: dict[str, list[type[Event]]], settled: bool) -> str:
    """Return what is wrong with a world at its end, or nothing."""
    if not settled:
        jobs = {job.job_id: str(job.state) for job in world.scheduling.jobs.values()}
        return (
            f"did not come to rest: {jobs}, leases {list(world.training.open)}, {world.bus.under_way} facts under way"
        )
    for about, told in ends.items():
        if len(told) != 1:
            return f"{about} told {len(told)} ends: {[kind.__name__ for kind in told]}"
    for job in world.scheduling.jobs.values():
        if job.job_id not in ends:
            return f"{job.job_id} is {job.state} and told no end"
        if job.state is State.SUCCEEDED and (wrong := _wrong_adapter(world, job.job_id, job.run_id or "", job.cost)):
            return wrong
    return ""


def _wrong_adapter(world: World, job_id: str, run_id: str, cost: int | None) -> str:
    weights = world.objects[f"adapter of {run_id}"]
    if weights != tuple(range(1, world.tasks[job_id].steps + 1)):
        return f"the adapter of {run_id} is made of the steps {weights}"
    owed = charge(world.training.spent(run_id), RATE)
    if cost != owed:
        return f"{job_id} cost {cost} millionths, its leases come to {owed}"
    return ""
