"""The trainer's SQL: one function, one statement. Every durable write of an attempt is guarded by its fence."""

from datetime import datetime
from typing import Any

import msgspec

from contracts.jobs import JobDispatched
from libs.db import Transaction
from services.trainer.domain.leftovers import Ended
from services.trainer.line import DeviceFound, Quarantined, SavedBefore, Uploaded

ADD_DEVICE = """
    INSERT INTO trainer.device (device_id, runner, kind, precision, threads, memory_bytes, flops, torch_device)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (device_id) DO UPDATE
       SET runner = $2, kind = $3, precision = $4, threads = $5, memory_bytes = $6, flops = $7, torch_device = $8,
           online = true
"""


async def add_device(tx: Transaction, runner: str, device: DeviceFound) -> None:
    """Enter a device, or bring it up to date and online."""
    await tx.execute(
        ADD_DEVICE, device.device_id, runner, device.kind, device.precision, device.threads, device.memory_bytes,
        device.flops, device.torch_device,
    )  # fmt: skip


OFFLINE = """
       UPDATE trainer.device SET online = false, offer_id = NULL
        FROM trainer.device AS before
        WHERE device.device_id = before.device_id AND device.runner = $1 AND device.online
    RETURNING device.device_id, before.offer_id
"""


async def take_offline(tx: Transaction, runner: str) -> list[Any]:
    """Mark a silent runner's devices; return each with the offer that stood."""
    return list(await tx.fetch(OFFLINE, runner))


IDLE_DEVICES = """
    SELECT *
      FROM trainer.device
     WHERE online
       AND NOT EXISTS (SELECT FROM trainer.lease WHERE lease.device_id = device.device_id AND ended_at IS NULL)
     ORDER BY device_id
       FOR UPDATE SKIP LOCKED
"""


async def idle_devices(tx: Transaction) -> list[Any]:
    """Lock and return the devices nobody holds."""
    return list(await tx.fetch(IDLE_DEVICES))


SET_OFFER = "UPDATE trainer.device SET offer_id = $2 WHERE device_id = $1"


async def set_offer(tx: Transaction, device_id: str, offer_id: str | None) -> None:
    """Record the offer that stands for a device, or that none does."""
    await tx.execute(SET_OFFER, device_id, offer_id)


TAKE_OFFER = """
       UPDATE trainer.device SET offer_id = NULL
        WHERE device_id = $1 AND offer_id = $2 AND online
          AND NOT EXISTS (SELECT FROM trainer.lease WHERE lease.device_id = $1 AND ended_at IS NULL)
    RETURNING runner
"""


async def take_offer(tx: Transaction, device_id: str, offer_id: str) -> str | None:
    """Use up an offer and return the device's runner; ``None``: it no longer stands."""
    runner: str | None = await tx.fetchval(TAKE_OFFER, device_id, offer_id)
    return runner


ADD_RUN = """
    INSERT INTO trainer.run (run_id, tenant, job_id, state, recipe, dataset_id, dataset_digest, dataset_uri,
                             checkpoint_every)
    VALUES ($1, $2, $3, 'starting', $4, $5, $6, $7, $8)
        ON CONFLICT (job_id) DO NOTHING
 RETURNING run_id
"""


async def add_run(tx: Transaction, job: JobDispatched, checkpoint_every: int) -> bool:
    """Enter a run that waits for its first lease. ``False``: the job has one already."""
    recipe = msgspec.json.encode(job.recipe).decode()
    added = await tx.fetchval(
        ADD_RUN, job.run_id, job.tenant, job.job_id, recipe, job.dataset_id, job.dataset_digest, job.dataset_uri,
        checkpoint_every,
    )  # fmt: skip
    return added is not None


GRANT = """
    INSERT INTO trainer.lease (fence, tenant, run_id, device_id, runner, attempt, granted_at)
    SELECT nextval('trainer.fence'), run.tenant, run.run_id, $2, $3, run.attempt + 1, $4
      FROM trainer.run
     WHERE run_id = $1 AND state IN ('starting', 'recovering', 'paused') AND NOT stop_asked
        ON CONFLICT DO NOTHING
 RETURNING fence, attempt
"""


async def grant(tx: Transaction, run_id: str, device_id: str, runner: str, at: datetime) -> Any:
    """Give a device to a run under the next fence; ``None``: the device or the run is taken."""
    return await tx.fetchrow(GRANT, run_id, device_id, runner, at)


BEGIN_ATTEMPT = "UPDATE trainer.run SET state = 'starting', attempt = $2 WHERE run_id = $1"


async def begin_attempt(tx: Transaction, run_id: str, attempt: int) -> None:
    """Note that a run has a device again."""
    await tx.execute(BEGIN_ATTEMPT, run_id, attempt)


RECOVERING = """
    SELECT run_id, tenant, job_id
      FROM trainer.run
     WHERE state = 'recovering' AND NOT stop_asked
     ORDER BY created_at
       FOR UPDATE SKIP LOCKED
"""


async def recovering(tx: Transaction) -> list[Any]:
    """Lock and return the runs that wait for a device, oldest first."""
    return list(await tx.fetch(RECOVERING))


UNLAUNCHED = """
    SELECT lease.fence, lease.runner, lease.attempt, lease.device_id, run.*
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
    SELECT run.*, lease.fence, lease.device_id, lease.runner, device.torch_device
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


SET_TOLD = "UPDATE trainer.run SET told_started = true, interrupted_at = NULL WHERE run_id = $1"


async def set_told(tx: Transaction, run_id: str) -> None:
    """Note that the start, or the recovery, has been told."""
    await tx.execute(SET_TOLD, run_id)


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
       SET state = $2, interruptions = interruptions + 1, barren = barren + 1, micro_tokens = $3, losses = $4,
           interrupted_at = $5
     WHERE run_id = $1
"""


async def lose(tx: Transaction, run_id: str, state: str, micro_tokens: int, losses: str, at: datetime) -> None:
    """Note an interruption."""
    await tx.execute(LOSE, run_id, state, micro_tokens, losses, at)


SET_STEP = "UPDATE trainer.run SET step = greatest(step, $2) WHERE run_id = $1"


async def set_step(tx: Transaction, run_id: str, step: int) -> None:
    """Note how far the run has been seen."""
    await tx.execute(SET_STEP, run_id, step)


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


QUARANTINE = "UPDATE trainer.checkpoint SET quarantined = $2 WHERE uri = $1"


async def quarantine(tx: Transaction, what: Quarantined) -> None:
    """Never resume from this checkpoint again."""
    await tx.execute(QUARANTINE, what.uri, what.reason)


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


RUNNER_KNOWN = "SELECT EXISTS (SELECT FROM trainer.device WHERE runner = $1 AND online)"


async def runner_known(tx: Transaction, runner: str) -> bool:
    """Whether this runner's devices are online here."""
    return bool(await tx.fetchval(RUNNER_KNOWN, runner))


ONLINE_RUNNERS = "SELECT DISTINCT runner FROM trainer.device WHERE online"


async def online_runners(tx: Transaction) -> list[str]:
    """Return the runners whose devices are online."""
    return [row["runner"] for row in await tx.fetch(ONLINE_RUNNERS)]


LOOK = """
    SELECT run.run_id, run.tenant, run.job_id, run.attempt, run.state
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
