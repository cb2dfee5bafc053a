"""The short version of ``make faults``: one real platform, one training, the most telling faults one after another."""

from collections.abc import AsyncIterator
from random import Random

import pytest
import pytest_asyncio

from contracts.jobs import JobSucceeded
from contracts.runs import RunFinished
from tests.faults import promises
from tests.faults.blows import KILLS, OTHERS
from tests.faults.dealing import deal
from tests.faults.moments import Point
from tests.faults.world import World, world_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

BLOWS: tuple[tuple[str, str, Point], ...] = (
    ("SIGKILL", "trainer", "submission"),
    ("SIGKILL", "child", "save"),
    ("checkpoint flipped", "storage", "step"),
    ("SIGKILL", "nats", "step"),
    ("SIGKILL", "postgres", "save"),
    ("facts repeated and reordered", "all", "step"),
    ("wire cut, out", "runner", "step"),
    ("outage longer than the lease", "postgres", "step"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(shipped_model: object) -> AsyncIterator[World]:
    """A platform of its own on a model that trains in seconds."""
    async with world_up() as world:
        yield world


@pytest.fixture(scope="module")
def jobs() -> list[str]:
    """The jobs that blows were dealt to."""
    return []


@pytest_asyncio.fixture(loop_scope="module")
async def job(world: World, jobs: list[str]) -> str:
    """A job that is not yet trained to its end: the one before, or another."""
    if not jobs or world.facts(jobs[-1], RunFinished):
        jobs.append(await world.submit(hyperparameters={"n_epochs": 40, "batch_size": 1}))
    return jobs[-1]


@pytest.mark.parametrize(("fault", "process", "point"), BLOWS)
async def test_a_training_goes_on_by_itself_after(
    world: World, job: str, fault: str, process: str, point: Point
) -> None:
    blow = next(each for each in (*KILLS, *OTHERS) if (each.name, each.process) == (fault, process))
    outcome = await deal(world, job, blow, point, Random(f"{fault} {process}"))
    if not outcome.bit and world.facts(job, RunFinished):
        pytest.skip("the job finished before the blow fell")
    assert outcome.bit, outcome.evidence
    assert not outcome.wrong, f"{outcome.wrong} ({outcome.evidence})"


async def test_every_job_succeeds_after_all_of_them(world: World, jobs: list[str]) -> None:
    for job in jobs:
        await world.until(lambda job=job: world.facts(job, JobSucceeded), "success", 480)


async def test_all_weights_are_trained_from_the_api_to_the_proof_whatever_is_killed(world: World) -> None:
    job = await world.submit(training="full", hyperparameters={"n_epochs": 5, "batch_size": 1})
    kill = next(each for each in KILLS if (each.name, each.process) == ("SIGKILL", "child"))
    outcome = await deal(world, job, kill, "step", Random(7))
    assert outcome.bit, outcome.evidence
    assert not outcome.wrong, f"{outcome.wrong} ({outcome.evidence})"
    await world.until(lambda: world.facts(job, JobSucceeded), "success", 480)
    [finished] = world.facts(job, RunFinished)
    assert finished.interruptions == 1
    assert (world.stored(finished.adapter_uri) / "model.safetensors").stat().st_size > 1_000_000


async def test_no_promise_is_broken_after_all_of_it(world: World) -> None:
    await promises.at_rest(world)
    assert await promises.broken(world) == []
