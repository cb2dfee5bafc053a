"""The SQL of machines: one function, one statement."""

from datetime import datetime
from typing import Any

import msgspec

from contracts.jobs import JobCancelled, JobDispatched, JobPaused, JobQueued
from libs.db import Transaction
from services.trainer.domain.machines import Machine

ELECT = "SELECT pg_try_advisory_lock(hashtext('trainer'), hashtext('machines'))"


async def elect(office: Any) -> bool:
    """Try to become the one control that keeps machines, for as long as this connection lives."""
    return bool(await office.fetchval(ELECT))


STAY = "SELECT 1"


async def stay(office: Any) -> None:
    """Raise when the connection that holds the office is gone, and with it the office."""
    await office.execute(STAY)


OWNER = """
    INSERT INTO trainer.installation DEFAULT VALUES
        ON CONFLICT (one) DO UPDATE SET owner = installation.owner
 RETURNING owner
"""


async def owner(tx: Transaction) -> str:
    """Return the mark that every machine of this installation bears, drawn at the first call."""
    return str(await tx.fetchval(OWNER))


NOTE_JOB = """
    INSERT INTO trainer.waiting (job_id, tenant, version, waits, since)
    VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (job_id) DO UPDATE
       SET version = excluded.version, waits = excluded.waits, since = excluded.since
     WHERE waiting.version < excluded.version
"""


async def note_job(tx: Transaction, job: JobQueued | JobDispatched | JobPaused | JobCancelled) -> None:
    """Note whether a job waits for a device; an older fact that comes late changes nothing."""
    await tx.execute(NOTE_JOB, job.job_id, job.tenant, job.version, isinstance(job, JobQueued), job.at)


DEMAND = """
    SELECT array(SELECT DISTINCT runner FROM trainer.lease WHERE ended_at IS NULL) AS holding,
           array(SELECT (SELECT count(*) FROM trainer.waiting WHERE waits AND since < asked.before)
                      + (SELECT count(*) FROM trainer.run
                          WHERE state = 'recovering' AND NOT stop_asked
                            AND greatest(interrupted_at, not_before) < asked.before)
                   FROM unnest($1::timestamptz[]) WITH ORDINALITY AS asked (before, place)
                  ORDER BY place) AS waiting
"""


async def demand(tx: Transaction, before: list[datetime]) -> tuple[set[str], list[int]]:
    """Return the runners that hold a lease, and how many jobs and runs have waited from before each of these times.

    One statement, so one snapshot: a job that is just being placed is in one of the two, never in none.
    """
    [row] = await tx.fetch(DEMAND, before)
    return set(row["holding"]), list(row["waiting"])


FORGET_JOBS = "DELETE FROM trainer.waiting WHERE NOT waits AND since < $1"


async def forget_jobs(tx: Transaction, before: datetime) -> None:
    """Forget jobs that have not waited since then."""
    await tx.execute(FORGET_JOBS, before)


ADD = """
    INSERT INTO trainer.machine (key, pool, provider, kind, devices, price, ask_at, asked_at, busy_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $7)
"""


async def add(
    tx: Transaction, key: str, pool: str, provider: str, kind: str, devices: int, price: float, at: datetime
) -> None:
    """Write down that a machine is about to be asked for."""
    await tx.execute(ADD, key, pool, provider, kind, devices, price, at)


KEPT = """
    SELECT key, pool, kind, handle, state, wanted, doubts, tries, ask_at, asked_at, heard_at, busy_at
      FROM trainer.machine
     WHERE ended_at IS NULL
     ORDER BY asked_at
"""


async def kept(tx: Transaction) -> list[Machine]:
    """Return the machines that are kept or being ended, of every pool."""
    return [msgspec.convert(dict(row), Machine) for row in await tx.fetch(KEPT)]


KNOWN = "SELECT key, handle, ended_at IS NULL AS open FROM trainer.machine WHERE key = ANY($1)"


async def known(tx: Transaction, keys: list[str]) -> dict[str, tuple[str | None, bool]]:
    """Return what is written of these keys: the handle, and whether the machine is kept or being ended."""
    return {row["key"]: (row["handle"], row["open"]) for row in await tx.fetch(KNOWN, keys)}


VOICE = "SELECT bool_or(online) FROM trainer.device WHERE runner = $1"


async def voice(tx: Transaction, key: str) -> bool | None:
    """Whether a machine's runner has its devices online; ``None``: it never said hello."""
    online: bool | None = await tx.fetchval(VOICE, key)
    return online


LAUNCHED = "UPDATE trainer.machine SET handle = $2, state = 'pending' WHERE key = $1 AND handle IS NULL"


async def launched(tx: Transaction, key: str, handle: str) -> None:
    """Write down what the provider calls a machine."""
    await tx.execute(LAUNCHED, key, handle)


ASK_LATER = "UPDATE trainer.machine SET tries = tries + 1, ask_at = $2 WHERE key = $1"


async def ask_later(tx: Transaction, key: str, at: datetime) -> None:
    """A launch was not answered: ask again at this time."""
    await tx.execute(ASK_LATER, key, at)


SEEN = """
    UPDATE trainer.machine
       SET state = $2, doubts = $3, heard_at = CASE WHEN $4 THEN coalesce(heard_at, $6) ELSE heard_at END,
           busy_at = CASE WHEN $5 THEN $6 ELSE busy_at END
     WHERE key = $1 AND ended_at IS NULL
"""


async def seen(tx: Transaction, key: str, state: str, doubts: int, heard: bool, holds: bool, at: datetime) -> None:
    """Note a look: what the provider said, whether the runner was heard, whether it holds a lease."""
    await tx.execute(SEEN, key, state, doubts, heard, holds, at)


UNWANT = "UPDATE trainer.machine SET wanted = false, ended_how = $2 WHERE key = $1"


async def unwant(tx: Transaction, key: str, why: str) -> None:
    """Decide to end a machine."""
    await tx.execute(UNWANT, key, why)


LEAVING = "SELECT EXISTS (SELECT FROM trainer.machine WHERE key = $1 AND NOT wanted)"


async def leaving(tx: Transaction, runner: str) -> bool:
    """Whether a runner's machine is being ended: its devices are for nobody any more."""
    return bool(await tx.fetchval(LEAVING, runner))


END = """
    UPDATE trainer.machine
       SET state = 'gone', wanted = false, ended_at = $2, ended_how = coalesce(ended_how, $3)
     WHERE key = $1 AND ended_at IS NULL
 RETURNING key
"""


async def end(tx: Transaction, key: str, at: datetime, how: str) -> bool:
    """Close a machine's row; why it was to end, if that was decided here, stays. ``False``: it was closed before."""
    return await tx.fetchval(END, key, at, how) is not None


BARREN = """
    SELECT count(*)::int AS times, max(coalesce(ended_at, now())) AS last
      FROM trainer.machine
     WHERE pool = $1 AND NOT wanted AND heard_at IS NULL AND ended_how <> 'idle'
       AND asked_at > coalesce((SELECT max(asked_at) FROM trainer.machine WHERE pool = $1 AND heard_at IS NOT NULL),
                               '-infinity')
"""


async def barren(tx: Transaction, pool: str) -> tuple[int, datetime | None]:
    """Count a pool's latest machines in a row that came to nothing before their runner was heard, and when."""
    [row] = await tx.fetch(BARREN, pool)
    return row["times"], row["last"]


RENTED = """
    SELECT coalesce(sum(seconds), 0)::double precision AS seconds,
           round(coalesce(sum(seconds * price / devices), 0) / 3600, 6)::double precision AS rent
      FROM (
           SELECT extract(epoch FROM coalesce(lease.ended_at, $2) - lease.granted_at) AS seconds,
                  machine.price::numeric AS price, machine.devices
             FROM trainer.lease JOIN trainer.machine ON machine.key = lease.runner
            WHERE lease.run_id = $1
           ) AS held
"""


async def rented(tx: Transaction, run_id: str, at: datetime) -> tuple[float, float]:
    """Return the seconds a run's leases held rented machines, and what that comes to at their price."""
    [row] = await tx.fetch(RENTED, run_id, at)
    return row["seconds"], row["rent"]


COST = """
    SELECT coalesce(sum(extract(epoch FROM coalesce(lease.ended_at, $2) - lease.granted_at) / 3600
                        * coalesce(machine.price / machine.devices, $3)), 0)::double precision
      FROM trainer.lease LEFT JOIN trainer.machine ON machine.key = lease.runner
     WHERE lease.run_id = $1
"""


async def cost(tx: Transaction, run_id: str, at: datetime, rate: float) -> float:
    """Return what a run's leases cost: rented devices at their machine's price, the others at ``rate`` an hour."""
    return float(await tx.fetchval(COST, run_id, at, rate))
