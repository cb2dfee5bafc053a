"""The table of invariants, and the verdict on each after looking for some seconds.

Something half-way at one look is done at the next. So an offence breaks its invariant only after it stood, in the
same words, in every look for ``patience`` seconds; as soon as nothing is amiss the check is over.
"""

import asyncio
from collections.abc import Callable, Iterator

from msgspec import Struct

from deploy.invariants import jobs, runs, stored, telling
from deploy.invariants.looking import Eyes, Installation, Look, eyes
from deploy.invariants.offences import Offence

PATIENCE = 10.0
PAUSE = 0.5


class Invariant(Struct, frozen=True):
    """What must hold, which promise rests on it, what to look at, and what to do where it does not."""

    name: str
    promise: str
    offences: Callable[[Look], Iterator[Offence]]
    mend: str


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "accepted jobs are known",
        "G1",
        jobs.accepted,
        "See that scheduler and gateway run; a fact they set aside is listed under `set aside`.",
    ),
    Invariant(
        "one end per job",
        "G2",
        jobs.ended_once,
        "See that scheduler, trainer and gateway run. If they do, keep the job's facts and report a bug.",
    ),
    Invariant("one end per run", "G2", runs.ended_once, "See that the trainer runs. If it does, report a bug."),
    Invariant("one proof per run", "G2", jobs.proven_once, "See that the evaluator runs. If it does, report a bug."),
    Invariant(
        "one holder per device",
        "G5",
        runs.leased,
        "See that the trainer runs: it ends a silent lease after 15 s and gives the run a new one.",
    ),
    Invariant(
        "no write below the fence",
        "G5",
        runs.fenced,
        "A stale holder's write was accepted: do not use this run's adapter, train it again and report a bug.",
    ),
    Invariant(
        "steps tile 0…N",
        "G4",
        runs.tiled,
        "A step is missing from this adapter or in it twice: do not use it, train it again and report a bug.",
    ),
    Invariant(
        "device time adds up",
        "G6",
        runs.accounted,
        "The leases are right: correct the bill by them. Look whether the clock of the control's machine was set back.",
    ),
    Invariant("rent adds up", "G6", runs.rented, "The leases are right: correct the bill by them."),
    Invariant(
        "cost = rent + own device time × rate", "G6", jobs.paid, "The leases are right: correct the bill by them."
    ),
    Invariant("months hold what jobs cost", "G6", jobs.booked, "The jobs are right: correct the month by them."),
    Invariant(
        "objects are whole",
        "G7",
        stored.whole,
        "Restore this object from a backup. Of a checkpoint nothing is lost: the one before it is used.",
    ),
    Invariant(
        "objects have rows",
        "G10",
        stored.owned,
        "Left by work that was killed, and nobody was promised it: `python -m deploy.invariants --sweep` deletes it.",
    ),
    Invariant(
        "one record per notice",
        "G8",
        jobs.noticed,
        "See that the notifier runs. People can be told by hand meanwhile.",
    ),
    Invariant(
        "sequences without gap",
        "G9",
        telling.dense,
        "A fact was lost or told twice: was the broker's folder restored alone, or emptied?",
    ),
    Invariant(
        "the audit log is a chain",
        "G11",
        telling.chained,
        "Somebody changed the log in the database itself: compare it with a backup, and look who could.",
    ),
    Invariant(
        "outboxes drained", "G1", telling.drained, "See that NATS and the service run; its log says why it waits."
    ),
    Invariant(
        "nothing set aside in silence",
        "G1",
        telling.set_aside,
        "Read the reason, mend the cause, and publish the message on its own subject again.",
    ),
)


class Finding(Struct, frozen=True, kw_only=True):
    """What became of one invariant. ``noted`` offences are listed and break nothing."""

    invariant: str
    promise: str
    held: bool
    offences: tuple[Offence, ...]
    noted: tuple[Offence, ...]
    mend: str


async def check(
    installation: Installation, *, patience: float = PATIENCE, pause: float = PAUSE, quick: bool = False
) -> list[Finding]:
    """Look until nothing is amiss, or until what is amiss stood for ``patience`` seconds; at most three times that."""
    clock = asyncio.get_running_loop().time
    began = clock()
    since: dict[tuple[str, Offence], float] = {}
    async with eyes(installation) as seeing:
        while True:
            found = await look_once(seeing, quick=quick)
            amiss = {(name, each) for name, offences in found.items() for each in offences if not each.harmless}
            since = {each: since.get(each, clock()) for each in amiss}
            standing = {each for each, first in since.items() if clock() - first >= patience}
            if standing == amiss or clock() - began > 3 * patience:
                return [_finding(invariant, found[invariant.name], standing) for invariant in INVARIANTS]
            await asyncio.sleep(pause)


async def look_once(seeing: Eyes, *, quick: bool = False) -> dict[str, list[Offence]]:
    """Return what is amiss at this moment, by invariant."""
    look = await seeing.look()
    await stored.look_at_objects(seeing, look, quick=quick)
    return {invariant.name: sorted(set(invariant.offences(look)), key=_order) for invariant in INVARIANTS}


def _finding(invariant: Invariant, found: list[Offence], standing: set[tuple[str, Offence]]) -> Finding:
    offences = tuple(each for each in found if (invariant.name, each) in standing)
    return Finding(
        invariant=invariant.name,
        promise=invariant.promise,
        held=not offences,
        offences=offences,
        noted=tuple(each for each in found if each.harmless),
        mend=invariant.mend,
    )


def _order(offence: Offence) -> tuple[str, str]:
    return offence.who, offence.what
