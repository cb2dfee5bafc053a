"""One blow from its moment to the first new step, judged: did it bite, did the job go on, what did it cost."""

from datetime import datetime
from random import Random
from typing import Any

from msgspec import Struct

from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobSucceeded
from contracts.runs import RunFinished, RunInterrupted, RunProgressed
from tests.faults.blows import Blow, Struck
from tests.faults.moments import Point
from tests.faults.world import DidNotBite, World


class Outcome(Struct, kw_only=True):
    """What came of one fault. ``seconds``: to the first new step, or what else the point waits for."""

    number: int
    fault: str
    process: str
    point: str
    job: str = ""
    bit: bool = True
    seconds: float | None = None
    lost_steps: int = 0
    evidence: str = ""
    wrong: str = ""

    @property
    def right(self) -> bool:
        """Whether the fault bit and all ended as promised."""
        return self.bit and not self.wrong


async def deal(world: World, job: str, blow: Blow, point: Point, random: Random, number: int = 0) -> Outcome:
    """Strike and watch the job go on; nothing is raised that the fault could have caused."""
    outcome = Outcome(number=number, fault=blow.name, process=blow.process, point=point, job=job)
    before, lost = world.attempt(job), world.lost_steps(job)
    losses = len(world.facts(job, RunInterrupted))
    try:
        struck = await blow.strike(world, job, random, point)
        outcome.evidence = struck.evidence
        outcome.seconds = await _goes_on(world, job, blow, point, before, struck)
        await world.caught_up()
        outcome.lost_steps = world.lost_steps(job) - lost
        outcome.wrong = _judge(blow, outcome, len(world.facts(job, RunInterrupted)) - losses)
    except DidNotBite as missed:
        outcome.bit, outcome.evidence = False, str(missed)
    except Exception as broken:
        outcome.wrong = f"{type(broken).__name__}: {broken}"
    return outcome


def _judge(blow: Blow, outcome: Outcome, interruptions: int) -> str:
    if blow.loses == "never" and interruptions:
        return f"{interruptions} attempts were lost, though the training process was not touched"
    if blow.graceful and outcome.lost_steps:
        return f"{outcome.lost_steps} steps were lost in spite of the notice"
    return ""


async def _goes_on(world: World, job: str, blow: Blow, point: Point, before: int, struck: Struck) -> float | None:
    """Wait for what must come after this point, and return how many seconds it took; ``None``: the job ended first."""
    match point:
        case "finish":
            return _since(struck.at, await _told(world, job, JobSucceeded))
        case "evaluation":
            return _since(struck.at, await _told(world, job, ReportReady, EvaluationFailed))

    def went_on() -> Any:
        return next((each for each in world.looks(job) if _is_new(each, blow, before, struck)), None) or world.facts(
            job, RunFinished
        )

    found = await world.until(went_on, "a new step")
    return _since(struck.at, found) if isinstance(found, RunProgressed) else None


def _is_new(look: RunProgressed, blow: Blow, before: int, struck: Struck) -> bool:
    return look.at > struck.at and (look.attempt > before or blow.loses != "always")


async def _told(world: World, job: str, *kinds: Any) -> Any:
    found = await world.until(lambda: [each for kind in kinds for each in world.facts(job, kind)], kinds[0].__name__)
    return found[0]


def _since(at: datetime, event: Any) -> float:
    return round((event.at - at).total_seconds(), 2)
