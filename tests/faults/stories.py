"""Faults with a job and a right end of their own: each is told from submission to that end.

A story returns what proves that its fault bit; a wrong end is an ``AssertionError``.
"""

import asyncio
import contextlib
import resource
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random

from msgspec import Struct

from contracts.jobs import JobCancelled, JobFailed, JobSucceeded
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import LeaseGranted, RunFailed, RunInterrupted, RunRecovered, RunStageReached
from libs.lm.models import known, record_of, write_record
from services.cli.errors import Refused
from tests.faults.blows import ask_runner_to_leave
from tests.faults.world import DidNotBite, World

SHORT = {"hyperparameters": {"n_epochs": 4, "batch_size": 1}}
ENDS = (JobSucceeded, JobFailed, JobCancelled)
LAST_STEPS = 20
"""How many are left when the race begins: less than a second's."""

STORM = 7
"""Preemptions in a row: more than a lost worker's budget of five allows."""

LOSSES = 6
"""Losses in a row: one more than the budget."""

Tell = Callable[[World, Random], Awaitable[str]]


class Story(Struct, frozen=True, kw_only=True):
    """A fault told as a whole; ``end`` is what is right, for the table."""

    name: str
    process: str
    end: str
    tell: Tell


async def cancel_while_recovering(world: World, random: Random) -> str:
    """Kill the training, and cancel its job before the next attempt trains."""
    job = await world.submit()
    await world.training(job)
    child = world.child()
    assert child
    child.kill()
    await world.until(lambda: world.facts(job, RunInterrupted), "the interruption")
    await asyncio.sleep(random.uniform(0, 3))
    await world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    if world.facts(job, RunRecovered):
        raise DidNotBite("the job trained again")
    await _ends(world, job, JobCancelled)
    await _device_free(world, job)
    return f"cancelled under lease {len(world.facts(job, LeaseGranted))}, before it trained again"


async def finish_races_stop(world: World, random: Random) -> str:
    """Cancel a job in the second in which it finishes: one end, whichever came first, told once."""
    job = await world.submit(**SHORT)
    await world.training(job)
    total = world.looks(job)[-1].total_steps
    await world.until(lambda: world.looks(job)[-1].step >= total - LAST_STEPS or _saving(world, job), "the last steps")
    await asyncio.sleep(random.uniform(0, 1.0))
    try:
        await world.api.post(f"/v1/fine_tuning/jobs/{job}/cancel")
    except Refused as refused:
        raise DidNotBite(f"cancel came too late: {refused.problem.code}") from refused
    end = await _ends(world, job, JobCancelled, JobSucceeded)
    await _device_free(world, job)
    return f"cancel was accepted in the last second, the end is {type(end).__name__}"


async def numbers_that_are_none(world: World, random: Random) -> str:
    """Train from weights that are infinite: the loss is no number, and the job says so."""
    async with _poisoned(world):
        job = await world.submit(**SHORT)
        end = await _ends(world, job, JobFailed)
    assert end.reason == "diverged", f"the job failed with {end.reason}: {end.message}"
    return f"{end.reason}: {end.message}"


async def memory_gone(world: World, random: Random) -> str:
    """Let the training process allocate no more: it goes on with smaller batches."""
    job = await world.submit(**SHORT)
    await world.training(job)
    child = world.child()
    assert child
    room = child.memory_info().vms + 2_000_000
    resource.prlimit(child.pid, resource.RLIMIT_AS, (room, room))
    (lost,) = await world.until(lambda: world.facts(job, RunInterrupted) or world.facts(job, RunFailed), "an error")
    assert isinstance(lost, RunInterrupted), f"the run failed: {lost.message}"
    assert lost.cause == "out_of_memory", f"the cause is {lost.cause}: {lost.evidence}"
    await _ends(world, job, JobSucceeded)
    (run,) = await world.sql("SELECT micro_tokens FROM trainer.run WHERE job_id = $1", job)
    return f"{lost.cause} at {room // 2**20} MiB of address space, went on with {run['micro_tokens']} tokens a pass"


async def disk_full_in_a_save(world: World, random: Random) -> str:
    """Let the training process write no file larger than a few kilobytes: the save breaks half-way.

    The disk is the machine's, not the job's, and may have room again: the job waits and goes on from what was saved.
    """
    job = await world.submit()
    checkpoint = await world.checkpoint(job)
    child = world.child()
    assert child
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
    (lost,) = await world.until(lambda: world.facts(job, RunInterrupted) or world.facts(job, RunFailed), "an error")
    assert isinstance(lost, RunInterrupted), f"the run failed: {lost.message}"
    assert "File too large" in lost.evidence, f"another error: {lost.evidence}"
    assert lost.wait_seconds > 0, "it did not wait for room"
    assert lost.step >= checkpoint.step, f"it lost what was saved at step {checkpoint.step}"
    await _ends(world, job, JobSucceeded)
    return f"{lost.cause} after step {lost.step}, waited {lost.wait_seconds:.0f} s, {lost.lost_steps} steps lost"


async def storm_of_preemptions(world: World, random: Random) -> str:
    """Send the runner away again and again, each time soon after the job trains: preemptions have no budget."""
    job = await world.submit()
    for _ in range(STORM):
        attempt = world.attempt(job)
        await ask_runner_to_leave(world, job, random, "step")
        await world.until(lambda seen=attempt: world.attempt(job) > seen, "the next lease")
        await world.training(job)
    lost = world.lost_steps(job)
    assert not lost, f"{lost} steps were lost to {STORM} preemptions with notice"
    await _ends(world, job, JobSucceeded)
    return f"{STORM} preemptions, {len(world.facts(job, LeaseGranted))} leases, {lost} steps lost"


async def lost_too_often(world: World, random: Random) -> str:
    """Kill the training once more than the budget allows: it fails, and says why."""
    job = await world.submit()
    for _ in range(LOSSES):
        await world.training(job)
        await world.checkpoint(job)
        child, attempt = world.child(), world.attempt(job)
        assert child
        child.kill()
        await world.until(
            lambda seen=attempt: world.attempt(job) > seen or world.facts(job, JobFailed), "what follows the loss"
        )
    end = await _ends(world, job, JobFailed)
    assert end.reason == "lost_worker", f"the job failed with {end.reason}"
    return f"{LOSSES} losses: {end.message}"


STORIES: tuple[Story, ...] = (
    Story(name="cancel while recovering", process="child", end="cancelled", tell=cancel_while_recovering),
    Story(name="finish races stop", process="-", end="one end", tell=finish_races_stop),
    Story(name="loss is no number", process="child", end="failed (diverged)", tell=numbers_that_are_none),
    Story(name="out of memory", process="child", end="smaller batches, succeeded", tell=memory_gone),
    Story(name="disk full in a save", process="child", end="waits, succeeded", tell=disk_full_in_a_save),
    Story(name="storm of preemptions", process="runner", end="succeeded", tell=storm_of_preemptions),
    Story(name="lost too often", process="child", end="failed (lost_worker)", tell=lost_too_often),
)


def _saving(world: World, job: str) -> bool:
    return any(each.stage == "saving" for each in world.facts(job, RunStageReached))


async def _ends(world: World, job: str, *rightly: type) -> object:
    """Wait for a job's end and return it; it must be the only one, and of a right kind."""
    await world.until(lambda: [end for kind in ENDS for end in world.facts(job, kind)], "the end of the job", 180)
    await world.caught_up()
    (end, *others) = [end for kind in ENDS for end in world.facts(job, kind)]
    assert not others, f"the job ended again: {others}"
    assert isinstance(end, rightly), f"the job ended with {end}"
    return end


async def _device_free(world: World, job: str) -> None:
    async def free() -> bool:
        held = "SELECT 1 FROM trainer.lease JOIN trainer.run USING (run_id) WHERE job_id = $1 AND ended_at IS NULL"
        return not await world.sql(held, job)

    await world.until(free, "the end of the lease", 60)


@contextlib.asynccontextmanager
async def _poisoned(world: World) -> AsyncIterator[None]:
    """Put a base model in place whose weights are infinite, and the former back afterwards."""
    folder = world.home.models / SHIPPED_MODEL
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        await asyncio.to_thread(_poison, aside, folder)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)


def _poison(source, target) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target)
    weights = {name: each.fill_(float("inf")) for name, each in load_file(source / "model.safetensors").items()}
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    write_record(target, known(SHIPPED_MODEL), record_of(source).dtype)
