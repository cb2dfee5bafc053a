"""One blow from its moment to the first new step, judged: did it bite, did the job go on, what did it cost."""

from random import Random

from msgspec import Struct

from contracts.base import Event
from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobSucceeded
from contracts.runs import RunFinished, RunInterrupted, RunProgressed
from tests.faults.blows import Blow, Struck
from tests.faults.moments import Point
from tests.faults.world import DidNotBite, Told, World

AWAITED: dict[Point, tuple[type[Event], ...]] = {
    "finish": (JobSucceeded,),
    "evaluation": (ReportReady, EvaluationFailed),
}
"""What a job does next after a blow at these points; at all others it takes a step."""


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
        outcome.wrong = _judge(blow, outcome, world.facts(job, RunInterrupted)[losses:])
    except DidNotBite as missed:
        outcome.bit, outcome.evidence = False, str(missed)
    except Exception as broken:
        outcome.wrong = f"{type(broken).__name__}: {broken}"
    return outcome


def _judge(blow: Blow, outcome: Outcome, interruptions: list[RunInterrupted]) -> str:
    if blow.loses == "never" and interruptions:
        why = "; ".join(f"{each.cause} at {each.at:%H:%M:%S}: {each.evidence}" for each in interruptions)
        return f"attempts were lost, though the training process was not touched: {why}"
    if blow.graceful and outcome.lost_steps:
        return f"{outcome.lost_steps} steps were lost in spite of the notice"
    return ""


async def _goes_on(world: World, job: str, blow: Blow, point: Point, before: int, struck: Struck) -> float | None:
    """Wait for what must come after this point, and return how many seconds it took; ``None``: the job ended first."""
    kinds: tuple[type[Event], ...] = AWAITED.get(point, (RunProgressed, RunFinished))

    def found() -> Told | None:
        return next((each for each in world.told if _is_new(each, job, kinds, blow, before, struck)), None)

    came: Told = await world.until(found, kinds[0].__name__)
    return None if isinstance(came.event, RunFinished) else round((came.heard - struck.at).total_seconds(), 2)


def _is_new(told: Told, job: str, kinds: tuple[type[Event], ...], blow: Blow, before: int, struck: Struck) -> bool:
    """Whether this was told of the job after the blow; of a look at a lost training, whether a later attempt's."""
    event = told.event
    if not isinstance(event, kinds) or getattr(event, "job_id", "") != job:
        return False
    if not isinstance(event, RunProgressed):
        return True
    later = event.attempt > before if blow.loses == "always" else event.at > struck.at
    return later and told.heard > struck.at
