"""The trainer's SQL: one function, one statement. Every durable write of an attempt is guarded by its fence."""

from datetime import datetime
from typing import Any

import msgspec

from contracts.jobs import JobDispatched
from libs.db import Transaction
from services.trainer.domain.leftovers import Ended
from services.trainer.line import Quarantined, SavedBefore, Uploaded

ADD_RUN = """
    INSERT INTO trainer.run (run_id, tenant, job_id, state, recipe, dataset_id, dataset_digest, dataset_uri,
                             checkpoint_every, memory_bytes, steps)
    VALUES ($1, $2, $3, 'starting', $4, $5, $6, $7, $8, $9, $10)
        ON CONFLICT (job_id) DO NOTHING
 RETURNING run_id
"""


async def add_run(tx: Transaction, job: JobDispatched, checkpoint_every: int, memory_bytes: int) -> bool:
    """Enter a run that waits for its first lease. ``False``: the job has one already."""
    recipe = msgspec.json.encode(job.recipe).decode()
    added = await tx.fetchval(
        ADD_RUN, job.run_id, job.tenant, job.job_id, recipe, job.dataset_id, job.dataset_digest, job.dataset_uri,
        checkpoint_every, memory_bytes, max(job.estimate.steps, job.recipe.max_steps),
    )  # fmt: skip
    return added is not None


FORGET_RUN = "DELETE FROM trainer.run WHERE run_id = $1 AND attempt = 0"


async def forget_run(tx: Transaction, run_id: str) -> None:
    """Forget a run that got no lease: its job may be dispatched anew."""
    await tx.execute(FORGET_RUN, run_id)


GRANT = """
    INSERT INTO trainer.lease
           (fence, tenant, run_id, device_id, runner, attempt, granted_at, memory_bytes, shared, session)
    SELECT nextval('trainer.fence'), run.tenant, run.run_id, device.device_id, device.runner, run.attempt + 1, $3,
           run.memory_bytes, device.shared, device.session
      FROM trainer.run, trainer.device,
           LATERAL (SELECT count(*) AS leases, coalesce(sum(lease.memory_bytes), 0) AS bytes
                      FROM trainer.lease
                     WHERE lease.device_id = device.device_id AND ended_at IS NULL) AS held
     WHERE run.run_id = $1 AND run.state IN ('starting', 'recovering', 'paused') AND NOT run.stop_asked
       AND device.device_id = $2 AND device.online
       AND held.bytes + run.memory_bytes <= device.memory_bytes AND (device.shared OR held.leases = 0)
        ON CONFLICT DO NOTHING
 RETURNING fence, attempt
"""


async def grant(tx: Transaction, run_id: str, device_id: str, at: datetime) -> Any:
    """Give a device, or its share of one, to a run under the next fence; ``None``: it does not fit, or is taken.

    The caller has locked the device (``take_offer``, ``devices_with_room``) in an earlier statement of the same
    transaction: of two grants the second therefore sees the first's lease in the sum of what is held.
    """
    return await tx.fetchrow(GRANT, run_id, device_id, at)


BEGIN_ATTEMPT = "UPDATE trainer.run SET state = 'starting', attempt = $2 WHERE run_id = $1"


async def begin_attempt(tx: Transaction, run_id: str, attempt: int) -> None:
    """Note that a run has a device again."""
    await tx.execute(BEGIN_ATTEMPT, run_id, attempt)


RECOVERING = """
    SELECT run_id, tenant, job_id, memory_bytes
      FROM trainer.run
     WHERE state = 'recovering' AND NOT stop_asked AND (not_before IS NULL OR not_before <= $1)
     ORDER BY created_at
       FOR UPDATE SKIP LOCKED
"""


async def recovering(tx: Transaction, at: datetime) -> list[Any]:
    """Lock and return the runs that wait for a device and have waited long enough, oldest first."""
    return list(await tx.fetch(RECOVERING, at))


UNLAUNCHED = """
    SELECT lease.fence, lease.runner, lease.session, lease.attempt, lease.device_id, run.*
      FROM trainer.lease JOIN trainer.run USING (run_id)
     WHERE lease.ended_at IS NULL AND NOT lease.launched AND run.state = 'starting'
     ORDER BY lease.fence
"""


async def unlaunched(tx: Transaction) -> list[Any]:
    """Return the leases whose runner has not been told yet, with their runs."""
    return list(await tx.fetch(UNLAUNCHED))


LAUNCHED = "UPDATE trainer.lease SET launched = true WHERE fence = $1"


async def set_launched(tx: Transaction, fence: int) -> None:
    """Note that the runner took the order."""
    await tx.execute(LAUNCHED, fence)


STOPPING = """
    SELECT lease.fence, lease.runner, lease.run_id
      FROM trainer.lease JOIN trainer.run USING (run_id)
     WHERE lease.ended_at IS NULL AND run.state IN ('stopping', 'pausing')
"""


async def stopping(tx: Transaction) -> list[Any]:
    """Return the leases whose attempt has to be ended."""
    return list(await tx.fetch(STOPPING))


HOLDER = """
    SELECT run.*, lease.fence, lease.device_id, lease.runner, device.torch_device, device.leaving
      FROM trainer.lease JOIN trainer.run USING (run_id) JOIN trainer.device USING (device_id)
     WHERE lease.fence = $1 AND lease.ended_at IS NULL
       FOR UPDATE OF run, lease
"""


async def holder(tx: Transaction, fence: int) -> Any:
    """Lock and return the run that holds this fence; ``None``: nobody does any more."""
    return await tx.fetchrow(HOLDER, fence)


RUN_OF_JOB = """
    SELECT run.*, lease.fence, lease.runner
      FROM trainer.run LEFT JOIN trainer.lease ON lease.run_id = run.run_id AND lease.ended_at IS NULL
     WHERE job_id = $1
       FOR UPDATE OF run
"""


async def run_of_job(tx: Transaction, job_id: str) -> Any:
    """Lock and return a job's run with the fence it holds, if any."""
    return await tx.fetchrow(RUN_OF_JOB, job_id)


SET_STATE = "UPDATE trainer.run SET state = $2 WHERE run_id = $1"


async def set_state(tx: Transaction, run_id: str, state: str) -> None:
    """Move a run to another state."""
    await tx.execute(SET_STATE, run_id, state)


ASK_STOP = "UPDATE trainer.run SET state = $2, stop_asked = true WHERE run_id = $1"


async def ask_stop(tx: Transaction, run_id: str, state: str) -> None:
    """Note that the run is not wanted any more."""
    await tx.execute(ASK_STOP, run_id, state)


SET_STARTED = "UPDATE trainer.run SET told_started = true WHERE run_id = $1"


async def set_started(tx: Transaction, run_id: str) -> None:
    """Note that the start has been told."""
    await tx.execute(SET_STARTED, run_id)


SET_RECOVERED = "UPDATE trainer.run SET interrupted_at = NULL WHERE run_id = $1"


async def set_recovered(tx: Transaction, run_id: str) -> None:
    """Note that the recovery has been told."""
    await tx.execute(SET_RECOVERED, run_id)


END_LEASE = """
       UPDATE trainer.lease SET ended_at = greatest($2, granted_at), ended_how = $3
        WHERE fence = $1 AND ended_at IS NULL
    RETURNING device_id
"""


async def end_lease(tx: Transaction, fence: int, at: datetime, how: str) -> bool:
    """Free the device. ``False``: it was freed before. A clock that was set back gives no lease less than no time."""
    return await tx.fetchval(END_LEASE, fence, at, how) is not None


LOSE = """
    UPDATE trainer.run
       SET state = $2, interruptions = interruptions + 1, barren = barren + $3, micro_tokens = $4, losses = $5,
           interrupted_at = coalesce(interrupted_at, $6), not_before = $7, step = $8
     WHERE run_id = $1
"""


async def lose(
    tx: Transaction, run_id: str, state: str, *, barren: int, micro_tokens: int, losses: str, at: datetime,
    not_before: datetime | None, step: int,
) -> None:  # fmt: skip
    """Note an interruption: the run goes on from ``step``, at once or not before ``not_before``."""
    await tx.execute(LOSE, run_id, state, barren, micro_tokens, losses, at, not_before, step)


SET_STEP = """
    UPDATE trainer.run
       SET step = greatest(step, $3)
     WHERE run_id = $1 AND attempt = $2 AND state IN ('starting', 'running', 'stopping')
"""


async def set_step(tx: Transaction, run_id: str, attempt: int, step: int) -> None:
    """Note how far an attempt has been seen; one that is over already changes nothing."""
    await tx.execute(SET_STEP, run_id, attempt, step)


ADD_CHECKPOINT = """
    INSERT INTO trainer.checkpoint (uri, tenant, run_id, fence, step, size, sha256, committed_at)
    SELECT $3, run.tenant, run.run_id, $2, $4, $5, $6, $7
      FROM trainer.run JOIN trainer.lease USING (run_id)
     WHERE run_id = $1 AND lease.fence = $2 AND lease.ended_at IS NULL
        ON CONFLICT (uri) DO NOTHING
 RETURNING uri
"""


async def add_checkpoint(tx: Transaction, run_id: str, fence: int, what: Uploaded, at: datetime) -> bool:
    """Commit a checkpoint under its fence. ``False``: the fence is stale, or it was committed before."""
    return await tx.fetchval(ADD_CHECKPOINT, run_id, fence, what.uri, what.step, what.size, what.sha256, at) is not None


FRUITFUL = "UPDATE trainer.run SET barren = 0, step = greatest(step, $2) WHERE run_id = $1"


async def set_fruitful(tx: Transaction, run_id: str, step: int) -> None:
    """An attempt that commits a checkpoint makes progress."""
    await tx.execute(FRUITFUL, run_id, step)


QUARANTINE = "UPDATE trainer.checkpoint SET quarantined = $3 WHERE uri = $1 AND run_id = $2"


async def quarantine(tx: Transaction, run_id: str, what: Quarantined) -> None:
    """Never resume from this checkpoint of the run again."""
    await tx.execute(QUARANTINE, what.uri, run_id, what.reason)


CHECKPOINTS = """
    SELECT uri, step, sha256
      FROM trainer.checkpoint
     WHERE run_id = $1 AND quarantined IS NULL
     ORDER BY step DESC, fence DESC
"""


async def checkpoints(tx: Transaction, run_id: str) -> tuple[SavedBefore, ...]:
    """Return what a run may resume from, newest first."""
    rows = await tx.fetch(CHECKPOINTS, run_id)
    return tuple(SavedBefore(step=row["step"], uri=row["uri"], sha256=row["sha256"]) for row in rows)


FORGET_CHECKPOINT = "DELETE FROM trainer.checkpoint WHERE uri = $1"


async def forget_checkpoint(tx: Transaction, uri: str) -> None:
    """Remove a pruned checkpoint's row, after its bytes."""
    await tx.execute(FORGET_CHECKPOINT, uri)


PRUNABLE = """
    SELECT uri
      FROM (SELECT uri, row_number() OVER (PARTITION BY run_id ORDER BY step DESC, fence DESC) AS age
              FROM trainer.checkpoint
             WHERE quarantined IS NULL) AS kept
     WHERE age > $1
     LIMIT 100
"""


async def prunable(tx: Transaction, keep: int) -> list[str]:
    """Return checkpoints that newer verified ones have made superfluous."""
    return [row["uri"] for row in await tx.fetch(PRUNABLE, keep)]


ADD_REMARK = """
    INSERT INTO trainer.remark (tenant, run_id, code, step)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
 RETURNING code
"""


async def add_remark(tx: Transaction, run: Any, code: str, step: int) -> bool:
    """Note that something was said of a step. ``False``: it was said before, perhaps by an earlier attempt."""
    return await tx.fetchval(ADD_REMARK, run["tenant"], run["run_id"], code, step) is not None


DEVICE_SECONDS = """
    SELECT coalesce(sum(extract(epoch FROM coalesce(ended_at, $2) - granted_at)), 0)::double precision
      FROM trainer.lease
     WHERE run_id = $1
"""


async def device_seconds(tx: Transaction, run_id: str, at: datetime) -> float:
    """Return Σ lease seconds of a run: what is paid for."""
    seconds: float = await tx.fetchval(DEVICE_SECONDS, run_id, at)
    return seconds


OPEN_LEASES = "SELECT fence, runner, run_id FROM trainer.lease WHERE ended_at IS NULL"


async def open_leases(tx: Transaction) -> list[Any]:
    """Return every lease that is held."""
    return list(await tx.fetch(OPEN_LEASES))


LEASES_OF_RUNNER = "SELECT fence, launched FROM trainer.lease WHERE runner = $1 AND ended_at IS NULL ORDER BY fence"


async def leases_of(tx: Transaction, runner: str) -> list[Any]:
    """Return the leases that a runner holds."""
    return list(await tx.fetch(LEASES_OF_RUNNER, runner))


LEASE = """
    SELECT lease.fence, lease.runner, lease.session, lease.run_id, lease.ended_how, run.tenant, run.job_id, run.steps
      FROM trainer.lease JOIN trainer.run USING (run_id)
     WHERE fence = $1
"""


async def lease(tx: Transaction, fence: int) -> Any:
    """Return a lease, held or ended, with its run; ``None``: no such fence was ever granted."""
    return await tx.fetchrow(LEASE, fence)


WAS_COMMITTED = "SELECT EXISTS (SELECT FROM trainer.checkpoint WHERE uri = $1 AND fence = $2 AND sha256 = $3)"


async def was_committed(tx: Transaction, fence: int, what: Uploaded) -> bool:
    """Whether this very checkpoint was committed before."""
    return bool(await tx.fetchval(WAS_COMMITTED, what.uri, fence, what.sha256))


LOOK = """
    SELECT run.run_id, run.tenant, run.job_id, run.attempt, run.state, run.steps, lease.runner, lease.session
      FROM trainer.lease JOIN trainer.run USING (run_id)
     WHERE lease.fence = $1 AND lease.ended_at IS NULL
"""


async def look(tx: Transaction, fence: int) -> Any:
    """Return the run behind a fence, unlocked: for telemetry."""
    return await tx.fetchrow(LOOK, fence)


TENANT_OF = "SELECT tenant FROM trainer.run WHERE run_id = $1"


async def tenant_of(tx: Transaction, run_id: str) -> str | None:
    """Return whose run it is; ``None``: there is no such run."""
    tenant: str | None = await tx.fetchval(TENANT_OF, run_id)
    return tenant


ENDED_LEASES = """
    SELECT lease.fence, lease.ended_at, run.state = 'succeeded' AND lease.ended_how = 'done' AS delivered
      FROM trainer.lease JOIN trainer.run USING (run_id)
     WHERE lease.fence = ANY($1) AND lease.ended_at IS NOT NULL
"""


async def ended_leases(tx: Transaction, fences: set[int]) -> dict[int, Ended]:
    """Return those of the leases that are over."""
    rows = await tx.fetch(ENDED_LEASES, list(fences))
    return {row["fence"]: Ended(row["fence"], row["ended_at"], row["delivered"]) for row in rows}


COMMITTED = "SELECT fence, array_agg(uri) AS uris FROM trainer.checkpoint GROUP BY fence"


async def committed(tx: Transaction) -> dict[int, list[str]]:
    """Return where checkpoints lie, quarantined ones too, by fence."""
    return {row["fence"]: row["uris"] for row in await tx.fetch(COMMITTED)}


HOLD_JOB = "SELECT pg_advisory_xact_lock(hashtextextended('trainer.job.' || $1::text, 0))"


async def hold_job(tx: Transaction, job_id: str) -> None:
    """Be the only one that dispatches or stops this job, known or not, until this transaction ends."""
    await tx.execute(HOLD_JOB, job_id)


CALL_OFF = """
    INSERT INTO trainer.called_off (offer_id, tenant, job_id)
    VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING
"""


async def call_off(tx: Transaction, tenant: str, job_id: str, offer_id: str) -> None:
    """Write down that a dispatch was ended before it arrived."""
    await tx.execute(CALL_OFF, offer_id, tenant, job_id)


CALLED_OFF = "DELETE FROM trainer.called_off WHERE offer_id = $1 RETURNING offer_id"


async def called_off(tx: Transaction, offer_id: str) -> bool:
    """Whether this dispatch was ended before it arrived; it is forgotten, for it arrives once."""
    return await tx.fetchval(CALLED_OFF, offer_id) is not None


TAKE_UP = """
    UPDATE trainer.run
       SET offer_id = $3, interrupted_at = CASE state WHEN 'paused' THEN coalesce(interrupted_at, $4) END
     WHERE job_id = $1 AND run_id = $2 AND (state = 'paused' OR attempt = 0 AND offer_id IS NULL)
 RETURNING run_id
"""


async def take_up(tx: Transaction, job: JobDispatched, at: datetime) -> bool:
    """Let a new or a paused run live by this dispatch. ``False``: it lives by another one, or is over."""
    return await tx.fetchval(TAKE_UP, job.job_id, job.run_id, job.offer_id, at) is not None


ASK_PAUSE = "UPDATE trainer.run SET state = $2, stop_why = $3 WHERE run_id = $1"


async def ask_pause(tx: Transaction, run_id: str, state: str, why: str) -> None:
    """Note that the run has to let its device go."""
    await tx.execute(ASK_PAUSE, run_id, state, why)


SET_ASIDE = """
    UPDATE trainer.run
       SET state = 'paused', told_started = false, step = $3, lost_steps = lost_steps + $4,
           pauses = pauses + (NOT $2::boolean)::int, interruptions = interruptions + $2::boolean::int,
           interrupted_at = CASE WHEN $2 THEN coalesce(interrupted_at, $5) END
     WHERE run_id = $1
"""


async def set_aside(
    tx: Transaction, run_id: str, at: datetime, *, step: int, lost_steps: int, interrupted: bool
) -> None:
    """Note that a run waits at ``step`` for its next dispatch, and whether that interrupts it or a person wanted it."""
    await tx.execute(SET_ASIDE, run_id, interrupted, step, lost_steps, at)


ADD_LOST = """
    UPDATE trainer.run
       SET lost_steps = lost_steps + $2, lost_seconds = lost_seconds + $3
     WHERE run_id = $1
 RETURNING lost_steps, lost_seconds
"""


async def add_lost(tx: Transaction, run_id: str, *, steps: int = 0, seconds: float = 0.0) -> Any:
    """Count what an interruption cost; return the sums of the run."""
    return await tx.fetchrow(ADD_LOST, run_id, steps, seconds)
