"""Harm done to a job that is in training and must go on by itself.

Each blow returns what it struck and the proof that it bit; one that did not bite raises ``DidNotBite`` and counts for
nothing. ``costs_an_attempt`` says whether the training process is lost with it: where it is not, an interruption is a
broken promise.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from random import Random
from typing import Literal

import psutil
from msgspec import Struct

from contracts.runs import CheckpointCommitted, LeaseGranted, RunFinished, RunInterrupted
from tests.faults.moments import Point, moment
from tests.faults.proxy import Wire
from tests.faults.world import DidNotBite, NotInTime, World, kill_group

LEASE = 15.0
"""Seconds of silence after which a device is taken away; the setting's default."""

MOST_REPEATED = 40


class Struck(Struct, kw_only=True):
    """``at``: when the harm was over, from when on recovery could begin. ``evidence``: how one knows that it bit."""

    at: datetime
    evidence: str


Strike = Callable[[World, str, Random, Point], Awaitable[Struck]]


class Blow(Struct, frozen=True, kw_only=True):
    """One kind of harm, to whom, at which points. ``loses``: an attempt is lost with it, or must not be."""

    name: str
    process: str
    points: tuple[Point, ...]
    loses: Literal["always", "never", "maybe"]
    strike: Strike
    weight: float = 1.0
    graceful: bool = False


# Kills -------------------------------------------------------------------------------------------------------------


def kill_of(name: str) -> Strike:
    """SIGKILL a program that the supervisor starts again."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        process = world.process(name)
        await moment(world, job, point, random)
        at = _now()
        process.kill()
        code = await _gone(process)
        await world.back(name, process.pid)
        return Struck(at=at, evidence=f"process {process.pid} {code}, {world.supervisor.running[name].pid} took over")

    return strike


async def kill_child(world: World, job: str, random: Random, point: Point) -> Struck:
    """SIGKILL the process that trains."""
    await moment(world, job, point, random)
    child = _child(world, job)
    at = _now()
    child.kill()
    return Struck(at=at, evidence=f"training process {child.pid} {await _gone(child)}")


async def kill_runner(world: World, job: str, random: Random, point: Point) -> Struck:
    """SIGKILL the runner whose child trains; the kernel ends the child with it, the supervisor starts the runner."""
    await moment(world, job, point, random)
    child = _child(world, job)
    name = world.host_of(child)
    runner = world.process(name)
    at = _now()
    runner.kill()
    evidence = f"{name} {await _gone(runner)}, its child {await _gone(child)}"
    await world.back(name, runner.pid)
    return Struck(at=at, evidence=evidence)


async def kill_host(world: World, job: str, random: Random, point: Point) -> Struck:
    """SIGKILL runner and child at once, and start neither again until another machine has taken over."""
    await moment(world, job, point, random)
    child = _child(world, job)
    name, attempt = world.host_of(child), world.attempt(job)
    runner = world.process(name)
    program = world.supervisor.forsake(name)
    at = _now()
    runner.kill()
    kill_group(child)
    evidence = f"{name} {await _gone(runner)}, its child {await _gone(child)}"
    try:
        await _next_attempt_trains(world, job, attempt)
    finally:
        await world.supervisor.start(program)
    return Struck(at=at, evidence=evidence)


# Notices ----------------------------------------------------------------------------------------------------------


async def ask_runner_to_leave(world: World, job: str, random: Random, point: Point) -> Struck:
    """SIGTERM to the runner: it saves, reports and ends; the supervisor starts it again, as a spot machine returns."""
    await moment(world, job, point, random)
    child = _child(world, job)
    name = world.host_of(child)
    runner = world.process(name)
    at = _now()
    runner.terminate()
    evidence = f"{name} {await _gone(runner, 150)}"
    await _gone(child)
    await world.back(name, runner.pid)
    return Struck(at=at, evidence=evidence)


def notice_of(seconds: float) -> Strike:
    """Move the job to a machine that is given so many seconds of notice, then give it that notice and no more."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        await moment(world, job, "step", random)
        other = next(each for each in world.runners() if each != world.host_of(_child(world, job)))
        await world.replace(other, WOODSHED_RUNNER_NOTICE_SECONDS=str(seconds))
        attempt = world.attempt(job)
        await ask_runner_to_leave(world, job, random, "step")
        await _next_attempt_trains(world, job, attempt)
        await moment(world, job, point, random)
        child = _child(world, job)
        runner = world.process(world.host_of(child))
        at, began = _now(), time.monotonic()
        runner.terminate()
        try:
            await _gone(runner, seconds)
        except NotInTime:
            kill_group(child)
            runner.kill()
            raise
        return Struck(at=at, evidence=f"left {time.monotonic() - began:.1f} s after a notice of {seconds:g} s")

    return strike


# Standing still ---------------------------------------------------------------------------------------------------


async def freeze_host(world: World, job: str, random: Random, point: Point) -> Struck:
    """SIGSTOP runner and child for longer than the lease; when they wake, another may hold the device."""
    await moment(world, job, point, random)
    child = _child(world, job)
    name = world.host_of(child)
    runner = world.process(name)
    lease = world.facts(job, LeaseGranted)[-1]
    at = _now()
    with _stopped(runner, child):
        await world.until(
            lambda: {runner.status(), child.status()} == {psutil.STATUS_STOPPED}, "the processes' standing still", 10
        )
        await _interrupted(world, job, lease.fence, LEASE + 15)
        if len(world.runners()) > 1:
            await _next_attempt_trains(world, job, lease.attempt)
    return Struck(at=at, evidence=f"{name} and its child stood still until fence {lease.fence} was taken away")


async def freeze_control(world: World, job: str, random: Random, point: Point) -> Struck:
    """SIGSTOP the control for longer than the lease: nobody may lose a lease because the judge slept."""
    await moment(world, job, point, random)
    control = world.process("trainer")
    seconds = random.uniform(1, 6)
    with _stopped(control):
        await asyncio.sleep(seconds)
    return Struck(at=_now(), evidence=f"the control stood still for {seconds:.1f} s")


# Servers ----------------------------------------------------------------------------------------------------------


def outage_of(name: str, shortest: float, longest: float) -> Strike:
    """Keep a server down for a while."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        await moment(world, job, point, random)
        seconds = random.uniform(shortest, longest)
        program = world.supervisor.forsake(name)
        process = world.process(name)
        process.kill()
        evidence = await _gone(process)
        await asyncio.sleep(seconds)
        await world.supervisor.start(program)
        return Struck(at=_now(), evidence=f"{name} {evidence}, down for {seconds:.0f} s")

    return strike


async def restart_postgres(world: World, job: str, random: Random, point: Point) -> Struck:
    """SIGINT: PostgreSQL rolls back what is open, ends every connection, and is started again."""
    await moment(world, job, point, random)
    process = world.process("postgres")
    at = _now()
    process.send_signal(signal.SIGINT)
    evidence = await _gone(process)
    await world.back("postgres", process.pid)
    return Struck(at=at, evidence=f"postgres {evidence}")


# Wires ------------------------------------------------------------------------------------------------------------


def cut_of(name: str, ways: tuple[Literal["out", "in"], ...], shortest: float, longest: float) -> Strike:
    """Cut a service off from the broker in one direction or both; what was said meanwhile arrives late."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        await moment(world, job, point, random)
        wire = _wire(world, job, name)
        seconds = random.uniform(shortest, longest)
        began = _now()
        wire.cut(*ways)
        try:
            await asyncio.sleep(seconds)
        finally:
            wire.heal()
        if not wire.waiting:
            raise DidNotBite("nothing was said while the wire was cut")
        at = began if shortest > LEASE else _now()
        return Struck(at=at, evidence=f"{wire.waiting} bytes waited for {seconds:.0f} s")

    return strike


def sever(name: str) -> Strike:
    """Reset a service's connection to the broker."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        await moment(world, job, point, random)
        if not (count := _wire(world, job, name).sever()):
            raise DidNotBite("there was no connection")
        return Struck(at=_now(), evidence=f"{count} connections reset")

    return strike


def delay(name: str, seconds: float) -> Strike:
    """Make every message to and from a service late."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        await moment(world, job, point, random)
        wire = _wire(world, job, name)
        wire.delay = seconds
        before = len(world.told)
        try:
            await asyncio.sleep(5)
        finally:
            wire.delay = 0.0
        if len(world.told) == before:
            raise DidNotBite("nothing was told meanwhile")
        return Struck(
            at=_now(), evidence=f"{seconds:g} s late each way for 5 s, {len(world.told) - before} messages told"
        )

    return strike


# Storage ----------------------------------------------------------------------------------------------------------

NEWEST_TWO = """
    SELECT uri, checkpoint.step
      FROM trainer.checkpoint JOIN trainer.run USING (run_id)
     WHERE job_id = $1 AND quarantined IS NULL
     ORDER BY checkpoint.step DESC
     LIMIT 2
"""
Damage = Literal["truncated", "flipped", "deleted"]


def damage(how: Damage) -> Strike:
    """Damage the newest checkpoint in storage, then kill the training: it must go on from the one before."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        await moment(world, job, point, random)
        await world.checkpoint(job)
        await world.until(lambda: len(world.facts(job, CheckpointCommitted)) >= 2, "a second checkpoint")
        child = _child(world, job)
        fence = world.facts(job, LeaseGranted)[-1].fence
        child.suspend()
        await world.settled(job)
        newest, before = await world.sql(NEWEST_TWO, job)
        path = world.stored(newest["uri"]) / random.choice(
            ("adapter_model.safetensors", "optimizer.pt", "MANIFEST.json")
        )
        _harm(path, how, random)
        at = _now()
        child.kill()
        await _interrupted(world, job, fence, 30)
        await world.until(lambda: world.recovered(job, fence), "the recovery")
        (row,) = await world.sql("SELECT quarantined FROM trainer.checkpoint WHERE uri = $1", newest["uri"])
        assert row["quarantined"], f"{path.name} of step {newest['step']} was {how}, and nobody noticed"
        resumed = world.recovered(job, fence)
        assert resumed
        assert resumed.step == before["step"], f"training went on from step {resumed.step}, not {before['step']}"
        return Struck(at=at, evidence=f"{path.name} of step {newest['step']} {how}: {row['quarantined'][:120]}")

    return strike


def _harm(path, how: Damage, random: Random) -> None:  # type: ignore[no-untyped-def]
    match how:
        case "deleted":
            path.unlink()
        case "truncated":
            os.truncate(path, path.stat().st_size // 2)
        case "flipped":
            with path.open("r+b") as file:
                where = random.randrange(path.stat().st_size)
                file.seek(where)
                byte = file.read(1)[0]
                file.seek(where)
                file.write(bytes([byte ^ (1 << random.randrange(8))]))


# Messages ---------------------------------------------------------------------------------------------------------


async def repeat_facts(world: World, job: str, random: Random, point: Point) -> Struck:
    """Tell everything that was told of this job again: with its message id, and without one, in another order."""
    await moment(world, job, point, random)
    facts = [each for each in world.told if each.stream == "EVENTS" and getattr(each.event, "job_id", "") == job]
    dropped = added = 0
    for each in random.sample(facts, k=min(MOST_REPEATED, len(facts))):
        message = await world.js.get_msg("EVENTS", each.seq)
        headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}
        with_id = headers | {"Nats-Msg-Id": each.id}
        again = await world.js.publish(message.subject, message.data, headers=with_id, timeout=5)
        dropped += bool(again.duplicate)
        again = await world.js.publish(message.subject, message.data, headers=headers, timeout=5)
        added += not again.duplicate
    if not added:
        raise DidNotBite("the stream took none of the repeated facts")
    return Struck(at=_now(), evidence=f"{dropped} repeated facts dropped by the stream, {added} heard twice")


# Two controls -------------------------------------------------------------------------------------------------------


async def second_control(world: World, job: str, random: Random, point: Point) -> Struck:
    """Run two controls, kill the training under both, then kill the first control."""
    await moment(world, job, point, random)
    child = _child(world, job)
    attempt = world.attempt(job)
    async with world.another("trainer", "trainer-second", WOODSHED_HEALTH_PORT="0"):
        await world.until(lambda: world.log_says("trainer-second", "ready"), "the second control")
        at = _now()
        child.kill()
        await _gone(child)
        await _next_attempt_trains(world, job, attempt)
        made = world.attempt(job) - attempt
        assert made == 1, f"two controls made {made} attempts of one loss"
        first = world.process("trainer")
        first.kill()
        await _gone(first)
        await world.back("trainer", first.pid)
    return Struck(at=at, evidence=f"two controls recovered {child.pid} once; then one of them was killed")


async def crash_between_grant_and_fact(world: World, job: str, random: Random, point: Point) -> Struck:
    """Kill the control after it committed a lease and before anybody heard of it.

    The relay's election is an advisory lock: while the test holds it, the control grants and tells nobody.
    """
    await moment(world, job, point, random)
    child = _child(world, job)
    holder = await world.database()
    control = world.process("trainer")
    try:
        control.kill()
        await _gone(control)
        async with asyncio.timeout(20):
            while not await holder.fetchval("SELECT pg_try_advisory_lock(hashtext('outbox'), hashtext('trainer'))"):
                await asyncio.sleep(0.002)
        await world.back("trainer", control.pid)
        at = _now()
        child.kill()
        untold = await world.until(lambda: _untold_grants(world), "a grant that nobody heard of", 30)
        control = world.process("trainer")
        control.kill()
        await _gone(control)
    finally:
        await holder.close()
    await world.back("trainer", control.pid)
    return Struck(at=at, evidence=f"control killed with {untold} untold grant in its outbox")


def clock_of(name: str, hours: float) -> Strike:
    """Run a program by a wall clock that is wrong while a training is lost and taken up again."""

    async def strike(world: World, job: str, random: Random, point: Point) -> Struck:
        await moment(world, job, point, random)
        right = world.supervisor.programs[name].command
        wrong = [sys.executable, "-m", "tests.faults.shifted", str(hours * 3600), right[-1]]
        await world.replace(name, wrong)
        try:
            child, attempt = _child(world, job), world.attempt(job)
            child.kill()
            await _next_attempt_trains(world, job, attempt)
            told = world.facts(job, LeaseGranted)[-1].at - _now()
        finally:
            await world.replace(name, right)
        if abs(told.total_seconds() - hours * 3600) > 300:
            raise DidNotBite(f"the lease was granted {told} from now")
        return Struck(at=_now(), evidence=f"a lease was granted {told.total_seconds():+.0f} s from now")

    return strike


async def _untold_grants(world: World) -> int:
    rows = await world.sql("SELECT count(*) FROM trainer.outbox WHERE subject LIKE '%lease_granted'")
    return int(rows[0]["count"])


# The table ---------------------------------------------------------------------------------------------------------

ANYWHERE: tuple[Point, ...] = ("step", "save", "save", "upload")

KILLS: tuple[Blow, ...] = (
    *(
        Blow(name="SIGKILL", process=name, points=points, loses="never", strike=kill_of(name), weight=weight)
        for name, points, weight in (
            ("gateway", (*ANYWHERE, "submission", "finish"), 1),
            ("dataset", ("step", "submission"), 0.5),
            ("scheduler", ("step", "submission", "finish"), 1),
            ("trainer", (*ANYWHERE, "submission", "loading", "finish"), 2),
            ("evaluator", ("step", "finish", "evaluation"), 0.7),
            ("notifier", ("step", "evaluation"), 0.5),
            ("nats", (*ANYWHERE, "submission", "loading", "finish", "evaluation"), 1.5),
            ("postgres", (*ANYWHERE, "submission", "loading", "finish", "evaluation"), 1.5),
        )
    ),
    Blow(name="SIGKILL", process="child", points=(*ANYWHERE, "loading"), loses="always", strike=kill_child, weight=5),
    Blow(name="SIGKILL", process="runner", points=(*ANYWHERE, "loading"), loses="always", strike=kill_runner, weight=2),
)  # fmt: skip
"""The random kills of the figure in the issue."""

OTHERS: tuple[Blow, ...] = (
    Blow(name="host lost", process="runner + child", points=ANYWHERE, loses="always", strike=kill_host),
    Blow(name="SIGTERM", process="runner", points=("step", "save"), loses="always", strike=ask_runner_to_leave,
         graceful=True),
    *(
        Blow(name=f"SIGTERM, {seconds} s of notice", process="runner", points=("step", "save", "upload"),
             loses="always", strike=notice_of(seconds), graceful=True)
        for seconds in (5, 30, 120)
    ),
    Blow(name="SIGSTOP longer than the lease", process="runner + child", points=("step",), loses="always",
         strike=freeze_host),
    Blow(name="SIGSTOP", process="trainer", points=("step",), loses="never", strike=freeze_control),
    Blow(name="outage shorter than the lease", process="nats", points=("step", "save"), loses="never",
         strike=outage_of("nats", 2, 6)),
    Blow(name="outage longer than the lease", process="nats", points=("step",), loses="maybe",
         strike=outage_of("nats", 20, 25)),
    Blow(name="restart", process="postgres", points=("step", "save"), loses="never", strike=restart_postgres),
    Blow(name="outage", process="postgres", points=("step",), loses="never", strike=outage_of("postgres", 3, 6)),
    Blow(name="outage longer than the lease", process="postgres", points=("step",), loses="never",
         strike=outage_of("postgres", 20, 25)),
    Blow(name="wire cut, out", process="runner", points=("step",), loses="never",
         strike=cut_of("runner", ("out",), 3, 6)),
    Blow(name="wire cut, in", process="runner", points=("step",), loses="never",
         strike=cut_of("runner", ("in",), 3, 6)),
    Blow(name="wire cut longer than the lease", process="runner", points=("step",), loses="always",
         strike=cut_of("runner", ("out", "in"), 20, 25)),
    Blow(name="wire cut, both", process="trainer", points=("step", "save"), loses="never",
         strike=cut_of("trainer", ("out", "in"), 3, 6)),
    Blow(name="wire cut, out", process="scheduler", points=("step",), loses="never",
         strike=cut_of("scheduler", ("out",), 3, 6)),
    Blow(name="wire reset", process="trainer", points=("step", "save"), loses="never", strike=sever("trainer")),
    Blow(name="wire reset", process="runner", points=("step", "save"), loses="never", strike=sever("runner")),
    Blow(name="late messages", process="trainer", points=("step",), loses="never", strike=delay("trainer", 0.4)),
    Blow(name="checkpoint truncated", process="storage", points=("step",), loses="always", strike=damage("truncated")),
    Blow(name="checkpoint flipped", process="storage", points=("step",), loses="always", strike=damage("flipped")),
    Blow(name="checkpoint deleted", process="storage", points=("step",), loses="always", strike=damage("deleted")),
    Blow(name="facts repeated and reordered", process="all", points=("step",), loses="never", strike=repeat_facts),
    Blow(name="two controls", process="trainer", points=("step",), loses="always", strike=second_control),
    Blow(name="clock an hour ahead", process="trainer", points=("step",), loses="always",
         strike=clock_of("trainer", 1)),
    Blow(name="clock an hour behind", process="trainer", points=("step",), loses="always",
         strike=clock_of("trainer", -1)),
    Blow(name="killed between grant and fact", process="trainer", points=("step",), loses="always",
         strike=crash_between_grant_and_fact),
)  # fmt: skip


# What they share -----------------------------------------------------------------------------------------------------


def _now() -> datetime:
    return datetime.now(UTC)


def _child(world: World, job: str) -> psutil.Process:
    child = world.child()
    if child is None or world.facts(job, RunFinished):
        raise DidNotBite("no process is training")
    return child


def _wire(world: World, job: str, name: str) -> Wire:
    """Return a service's wire; of the runners', that of the one whose child trains."""
    return world.wires[world.host_of(_child(world, job)) if name == "runner" else name]


async def _gone(process: psutil.Process, seconds: float = 10) -> str:
    """Wait until a process is dead (its parent may reap it) and say so."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0.01)
                continue
        return "ended"
    raise NotInTime(f"process {process.pid} did not end within {seconds:g} s")


class _stopped:
    """Processes stand still while inside."""

    def __init__(self, *processes: psutil.Process) -> None:
        self._processes = processes

    def __enter__(self) -> None:
        for each in self._processes:
            each.suspend()

    def __exit__(self, *_: object) -> None:
        for each in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.resume()


async def _interrupted(world: World, job: str, fence: int, seconds: float) -> RunInterrupted:
    found: RunInterrupted = await world.until(
        lambda: next((each for each in world.facts(job, RunInterrupted) if each.fence == fence), None),
        f"the interruption of fence {fence}",
        seconds,
    )
    return found


async def _next_attempt_trains(world: World, job: str, before: int) -> None:
    await world.until(
        lambda: any(each.attempt > before for each in world.looks(job)) or world.facts(job, RunFinished),
        "a step of the next attempt",
    )
