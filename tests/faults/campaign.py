"""A seeded campaign: many faults, one after another, on one platform; what came of each is a line of ``runs.jsonl``.

The plan is the same for the same seed. Blows are dealt to jobs that train, as many to each as its retry budgets allow;
stories bring jobs of their own. A campaign that was broken off goes on where it stood.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
from msgspec import Struct

from contracts.jobs import JobSucceeded
from contracts.runs import RunFinished, RunInterrupted
from tests.faults import promises
from tests.faults.blows import KILLS, OTHERS, Blow, DidNotBite
from tests.faults.dealing import Outcome, deal
from tests.faults.moments import Point
from tests.faults.stories import STORIES, Story
from tests.faults.world import NotInTime, World

LOSSES_A_JOB = 4
"""A lost worker is forgiven five times a run; one is left for what a blow may cause besides."""

LONGEST_JOB = 240.0
TRIES = 3
A_BEAT = 2.5
ON_THE_LINE = ("nats", "postgres", "trainer", "runner")
"""Between whom heart-beats pass: two short silences with no beat between are one long silence, which ends a lease."""

SHORT_EPOCHS = 6
IN_TRAINING: tuple[Point, ...] = ("step", "save", "upload")


class Entry(Struct, kw_only=True):
    """One fault that is to come."""

    number: int
    fault: Blow | Story
    point: Point
    tries: int = 0


def without_proofs(entries: list[Entry]) -> list[Entry]:
    """Leave out what needs an evaluator, or a training that is one."""
    real = {"loss is no number", "out of memory", "disk full in a save"}
    return [
        each for each in entries
        if each.fault.process != "evaluator" and each.point != "evaluation" and each.fault.name not in real
    ]  # fmt: skip


def plan(seed: int, kills: int, each: int) -> list[Entry]:
    """Draw ``kills`` random kills, and ``each`` of every other fault, in a random order."""
    random = Random(seed)
    drawn: list[Blow | Story] = random.choices(KILLS, [blow.weight for blow in KILLS], k=kills)
    drawn += [fault for fault in (*OTHERS, *STORIES) for _ in range(each)]
    random.shuffle(drawn)
    return [
        Entry(number=number, fault=fault, point=random.choice(fault.points) if isinstance(fault, Blow) else "step")
        for number, fault in enumerate(drawn)
    ]


class Campaign:
    """Works a plan off."""

    def __init__(self, world: World, entries: list[Entry], seed: int, folder: Path, say: Callable[[str], None]) -> None:
        self.world = world
        self.seed = seed
        self.say = say
        self.record = folder / "runs.jsonl"
        done = {each.number for each in outcomes(folder)}
        self.planned = len(entries)
        self.waiting = [each for each in entries if each.number not in done]
        self._began = time.monotonic()
        self._at_first = len(self.waiting)
        self._jobs: list[str] = []

    async def work(self, deadline: float) -> None:
        """Deal everything that waits, until the deadline of ``time.monotonic``; then let the platform come to rest."""
        await self.world.second_runner()
        while self.waiting and time.monotonic() < deadline:
            story = next((each for each in self.waiting if isinstance(each.fault, Story)), None)
            if story and story is self.waiting[0]:
                await self._tell(story)
            else:
                await self._job(deadline)
        await promises.at_rest(self.world)

    async def _tell(self, entry: Entry) -> None:
        story = entry.fault
        assert isinstance(story, Story)
        self.waiting.remove(entry)
        outcome = Outcome(number=entry.number, fault=story.name, process=story.process, point=story.end)
        try:
            await promises.at_rest(self.world)
            outcome.evidence = await story.tell(self.world, self._random(entry))
        except DidNotBite as missed:
            outcome.bit, outcome.evidence = False, str(missed)
        except AssertionError as wrong:
            outcome.wrong = str(wrong) or repr(wrong)
        await self._note(entry, outcome)

    async def _job(self, deadline: float) -> None:
        """Give one job what it can bear, phase by phase, and see it to its end."""
        world = self.world
        job = await world.submit(**self._size())
        self._jobs.append(job)
        for entry in self._take("submission") or self._take("loading"):
            await self._deal(job, entry)
        while time.monotonic() < deadline and (entry := self._fitting(job)):
            await self._ready_for_more(job)
            if world.facts(job, RunFinished):
                break
            self.waiting.remove(entry)
            await self._deal(job, entry)
        if time.monotonic() > deadline:
            await world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
            return
        for entry in self._take("finish"):
            await self._deal(job, entry)
        await self._see_to_its_end(job)
        for entry in self._take("evaluation"):
            await self._deal(job, entry)

    def _size(self) -> dict[str, object]:
        """Ask for a short job when nothing is left that needs a long one."""
        long = any(isinstance(each.fault, Blow) and each.point in IN_TRAINING for each in self.waiting)
        return {} if long else {"hyperparameters": {"n_epochs": SHORT_EPOCHS, "batch_size": 1}}

    def _take(self, point: Point) -> list[Entry]:
        """Take the next blow for a point that a job passes once."""
        found = [each for each in self.waiting if isinstance(each.fault, Blow) and each.point == point][:1]
        for each in found:
            self.waiting.remove(each)
        return found

    def _fitting(self, job: str) -> Entry | None:
        """Return the next blow the job can bear; stories wait for its end."""
        lost = [each for each in self.world.facts(job, RunInterrupted) if each.cause != "preempted"]
        spent = len(lost) >= LOSSES_A_JOB
        return next(
            (
                each for each in self.waiting
                if isinstance(each.fault, Blow) and each.point in IN_TRAINING
                and not (spent and each.fault.loses != "never")
            ),
            None,
        )  # fmt: skip

    async def _ready_for_more(self, job: str) -> None:
        """Wait until the job trains and its attempt has saved: three attempts without a checkpoint end a run."""
        world = self.world
        try:
            await world.training(job)
            await world.until(lambda: world.saved(job) or world.facts(job, RunFinished), "a checkpoint")
        except NotInTime:
            if not world.facts(job, RunFinished):
                raise

    async def _deal(self, job: str, entry: Entry) -> None:
        blow = entry.fault
        assert isinstance(blow, Blow)
        await self._note(entry, await deal(self.world, job, blow, entry.point, self._random(entry), entry.number))
        if blow.process in ON_THE_LINE and blow.loses == "never":
            await asyncio.sleep(A_BEAT)

    async def _see_to_its_end(self, job: str) -> None:
        try:
            await self.world.until(lambda: self.world.facts(job, JobSucceeded), "success", LONGEST_JOB)
        except NotInTime as late:
            status = (await self.world.job(job))["status"]
            self._write(_of_job(job, f"{late}; it is {status}"))
            await self.world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
        if broken := await promises.broken(self.world, quick=True):
            self._write(_of_job(job, "; ".join(broken)))

    async def _note(self, entry: Entry, outcome: Outcome) -> None:
        """Write down what came of a fault; one that did not bite is tried again."""
        entry.tries += 1
        if not outcome.bit and entry.tries < TRIES:
            self.waiting.insert(min(3, len(self.waiting)), entry)
            return
        self._write(outcome)

    def _write(self, outcome: Outcome) -> None:
        with self.record.open("ab") as file:
            file.write(msgspec.json.encode(outcome) + b"\n")
        self.say(self._progress(outcome))

    def _progress(self, outcome: Outcome) -> str:
        done = self._at_first - len(self.waiting)
        eta = (time.monotonic() - self._began) / max(done, 1) * len(self.waiting)
        seconds = f"{outcome.seconds:5.1f} s" if outcome.seconds is not None else "      –"
        verdict = "right" if outcome.right else f"WRONG: {outcome.wrong}" if outcome.wrong else "did not bite"
        return (
            f"{self.planned - len(self.waiting):4}/{self.planned}  {seconds}  -{outcome.lost_steps} steps  "
            f"{outcome.fault} × {outcome.process} × {outcome.point}: {verdict}   "
            f"({outcome.evidence[:100]})  {eta / 60:.0f} min left"
        )

    def _random(self, entry: Entry) -> Random:
        return Random(f"{self.seed}/{entry.number}/{entry.tries}")


def _of_job(job: str, wrong: str) -> Outcome:
    return Outcome(number=-1, fault="all of a job", process="-", point="end", job=job, wrong=wrong)


def outcomes(folder: Path) -> list[Outcome]:
    """Read what a campaign has written down so far."""
    path = folder / "runs.jsonl"
    if not path.exists():
        return []
    return [msgspec.json.decode(line, type=Outcome) for line in path.read_bytes().splitlines()]
