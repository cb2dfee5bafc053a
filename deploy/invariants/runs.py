"""Runs: who held which device, which writes were accepted, which steps an adapter is made of, what it took.

The story of a run is its own facts in the order of their versions: one service tells them, in the transaction that
makes them true, so no clock is needed to say what came before what.
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from contracts.base import Event
from contracts.runs import (
    CheckpointCommitted,
    LeaseGranted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunPaused,
    RunRecovered,
    RunStarted,
)
from deploy.invariants.looking import Look
from deploy.invariants.offences import Offence, grouped
from services.trainer.domain.run_states import FINAL

ENDS: dict[str, type[Event]] = {"succeeded": RunFinished, "failed": RunFailed, "cancelled": RunCancelled}
HALF_A_MILLIONTH = Fraction(1, 2_000_000)
HOLDING = frozenset({"starting", "running", "stopping", "pausing"})
LETTING_GO = (RunInterrupted, RunPaused, RunFinished, RunFailed, RunCancelled)
WRITES = (CheckpointCommitted, RunStarted, RunRecovered, RunFinished)


def leased(look: Look) -> Iterator[Offence]:
    """A run has at most one open lease; a device one, or as many as its memory holds where all of them share it."""
    held = [lease for lease in look.rows["trainer.lease"] if lease["ended_at"] is None]
    for run_id, leases in grouped(held, lambda lease: lease["run_id"]).items():
        if len(leases) > 1:
            yield Offence(run_id, f"holds fences {_fences(leases)} at once")
    memory = {device["device_id"]: device["memory_bytes"] for device in look.rows["trainer.device"]}
    for device_id, leases in grouped(held, lambda lease: lease["device_id"]).items():
        needed = sum(lease["memory_bytes"] for lease in leases)
        if len(leases) > 1 and not all(lease["shared"] for lease in leases):
            yield Offence(device_id, f"held under fences {_fences(leases)} at once")
        if len(leases) > 1 and needed > memory.get(device_id, 0):
            yield Offence(device_id, f"fences {_fences(leases)} share {needed} of {memory.get(device_id)} bytes")
    holders = {lease["run_id"] for lease in held}
    for run in look.rows["trainer.run"]:
        if run["state"] in HOLDING and run["run_id"] not in holders:
            yield Offence(run["run_id"], f"{run['state']} without a device")
        if run["state"] in FINAL and run["run_id"] in holders:
            yield Offence(run["run_id"], f"{run['state']} and still holds a device")


def fenced(look: Look) -> Iterator[Offence]:
    """No write was accepted below the current fence, and a later grant has the larger fence."""
    for run, story in _stories(look).items():
        granted = held = 0
        for fact in story:
            fence = getattr(fact, "fence", None)
            if isinstance(fact, LeaseGranted):
                if fact.fence <= granted:
                    yield Offence(run, f"fence {fact.fence} was granted after {granted}")
                if held:
                    yield Offence(run, f"fence {fact.fence} was granted while {held} was held")
                granted = held = fact.fence
            elif isinstance(fact, WRITES) and fence != held:
                yield Offence(run, f"{type(fact).__name__} under fence {fence} while {held or 'none'} was held")
            if isinstance(fact, LETTING_GO):
                held = 0
    fences = {lease["fence"]: lease["run_id"] for lease in look.rows["trainer.lease"]}
    for row in look.rows["trainer.checkpoint"]:
        if fences.get(row["fence"]) != row["run_id"]:
            yield Offence(row["uri"], f"committed under fence {row['fence']}, which is no lease of {row['run_id']}")


def tiled(look: Look) -> Iterator[Offence]:
    """The steps of a delivered adapter are 0…N, each from one attempt: every attempt resumed at a committed step."""
    for run, story in _stories(look).items():
        finished = [fact for fact in story if isinstance(fact, RunFinished)]
        if finished:
            yield from _tiles(run, story, finished[0])


def _tiles(run: str, story: list[Event], finished: RunFinished) -> Iterator[Offence]:
    resumed = {fact.fence: fact.step for fact in story if isinstance(fact, RunRecovered)}
    saved = grouped((fact for fact in story if isinstance(fact, CheckpointCommitted)), lambda fact: fact.fence)
    first = min((fact.fence for fact in story if isinstance(fact, LeaseGranted)), default=0)
    for fence in sorted({*saved, finished.fence} - {first, *resumed}):
        yield Offence(run, f"fence {fence} never told at which step it resumed")
    for fence, commits in saved.items():
        steps = [commit.step for commit in commits]
        if steps != sorted(set(steps)) or steps[0] <= resumed.get(fence, 0):
            yield Offence(run, f"fence {fence} resumed at {resumed.get(fence, 0)} and committed steps {steps}")
    fence, end = finished.fence, finished.steps
    while (start := resumed.get(fence, 0)) > 0:
        if start > end:
            yield Offence(run, f"fence {fence} resumed at step {start}, behind its end {end}")
        before = [older for older, commits in saved.items() if older < fence and start in {c.step for c in commits}]
        if not before:
            yield Offence(run, f"fence {fence} resumed at step {start}, which nobody had committed")
            return
        fence, end = max(before), start


def ended_once(look: Look) -> Iterator[Offence]:
    """A run at its end told it once; one under way told none."""
    told = grouped(look.of(RunFinished, RunFailed, RunCancelled), lambda fact: fact.run_id)
    for run in look.rows["trainer.run"]:
        ends = [type(fact) for fact in told.pop(run["run_id"], ())]
        wanted = [ENDS[run["state"]]] if run["state"] in FINAL else []
        if ends != wanted:
            yield Offence(run["run_id"], f"is {run['state']} and told {_names(ends)}")
    for run_id, facts in told.items():
        yield Offence(run_id, f"told {_names([type(fact) for fact in facts])} and has no row")


def accounted(look: Look) -> Iterator[Offence]:
    """The device time a run told at its end is the sum of its leases, to the microsecond."""
    leases = grouped(look.rows["trainer.lease"], lambda lease: lease["run_id"])
    for lease in look.rows["trainer.lease"]:
        if lease["microseconds"] is not None and lease["microseconds"] < 0:
            yield Offence(lease["run_id"], f"the lease with fence {lease['fence']} ended before it began")
    for fact in look.of(RunFinished, RunFailed, RunCancelled):
        spent = sum(lease["microseconds"] or 0 for lease in leases.get(fact.run_id, ()))
        told = round(fact.device_seconds * 1_000_000)
        if told != spent:
            yield Offence(fact.run_id, f"told {told} µs of device time, its leases add up to {spent}")


def rented(look: Look) -> Iterator[Offence]:
    """What a run told of rented machines is what its leases on them come to, to the millionth of the currency."""
    machines = {machine["key"]: machine for machine in look.rows["trainer.machine"]}
    leases = grouped(look.rows["trainer.lease"], lambda lease: lease["run_id"])
    for fact in look.of(RunFinished):
        held = [
            (lease["microseconds"] or 0, machine)
            for lease in leases.get(fact.run_id, ())
            if (machine := machines.get(lease["runner"]))
        ]
        owed = (
            sum(
                (Fraction(Decimal(str(machine["price"]))) * time / machine["devices"] for time, machine in held),
                Fraction(),
            )
            / 3_600_000_000
        )
        if round(fact.rented_seconds * 1_000_000) != (time := sum(time for time, _ in held)):
            yield Offence(fact.run_id, f"told {fact.rented_seconds} s on rented machines, its leases say {time} µs")
        if abs(Fraction(Decimal(str(fact.rent))) - owed) > HALF_A_MILLIONTH:
            yield Offence(fact.run_id, f"told a rent of {fact.rent:.6f}, its leases come to {float(owed):.6f}")


def _stories(look: Look) -> dict[str, list[Event]]:
    """Return each run's facts as its teller numbered them."""
    ordered = sorted(look.facts, key=lambda told: told.version)
    about = [told.event for told in ordered if told.teller == "trainer" and getattr(told.event, "run_id", None)]
    return grouped(about, lambda event: event.run_id)


def _fences(leases: list[Any]) -> str:
    return ", ".join(str(lease["fence"]) for lease in leases)


def _names(kinds: list[Any]) -> str:
    return " and ".join(kind.__name__ for kind in kinds) or "no end"
