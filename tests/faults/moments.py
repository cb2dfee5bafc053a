"""When to strike: a named point of a job's life, waited for in what can be seen from outside.

A save is a staging folder on the runner's disk, an upload a committed checkpoint that still lies there; both last
milliseconds, so they are looked for every millisecond and struck at once or a little later, by chance.
"""

import asyncio
import time
from random import Random
from typing import Literal

from contracts.evaluations import EvaluationStarted
from contracts.runs import RunFinished, RunStageReached
from tests.faults.world import DidNotBite, World

Point = Literal["submission", "loading", "step", "save", "upload", "finish", "evaluation"]

LONGEST_WAIT = 90.0
STEP_SPREAD = 1.5
LOADING_SPREAD = 3.0
SAVE_SPREAD = 0.03
SAVING = ("checkpoints/.staging-*/*", ".staging-*/*")
UPLOADING = "checkpoints/step-*"


async def moment(world: World, job: str, point: Point, random: Random) -> None:
    """Return at a moment of this kind; ``DidNotBite`` when the job has none any more."""
    match point:
        case "submission":
            await asyncio.sleep(random.uniform(0, 1.0))
        case "loading":
            await _stage(world, job, "loading_model")
            await asyncio.sleep(random.uniform(0, LOADING_SPREAD))
        case "step":
            await world.training(job)
            await asyncio.sleep(random.uniform(0, STEP_SPREAD))
        case "save":
            await _folder(world, job, *SAVING)
            await asyncio.sleep(random.choice((0.0, random.uniform(0, SAVE_SPREAD))))
        case "upload":
            await _folder(world, job, UPLOADING)
        case "finish":
            await _stage(world, job, "saving")
            await asyncio.sleep(random.uniform(0, 0.5))
            if world.facts(job, RunFinished):
                raise DidNotBite("the run had finished")
        case "evaluation":
            await world.until(lambda: world.facts(job, EvaluationStarted), "the start of an evaluation")
            await asyncio.sleep(random.uniform(0, 3.0))


async def _stage(world: World, job: str, stage: str) -> None:
    before = len([each for each in world.facts(job, RunStageReached) if each.stage == stage])

    def reached() -> bool:
        found = len([each for each in world.facts(job, RunStageReached) if each.stage == stage])
        return found > before or (before > 0 and stage == "saving")

    await world.until(reached, f"the stage {stage}")


async def _folder(world: World, job: str, *patterns: str) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        for runner in world.runners():
            if world.checkpoints(runner, *patterns):
                return
        if world.facts(job, RunFinished):
            break
        await asyncio.sleep(0.001)
    raise DidNotBite(f"no {patterns[0]} was seen")
