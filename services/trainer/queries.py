"""The SQL of runs: their states, their counts, what was said of them. One function, one statement."""

from datetime import datetime
from typing import Any

from libs.db import Transaction

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


FRUITFUL = "UPDATE trainer.run SET barren = 0, step = greatest(step, $2) WHERE run_id = $1"


async def set_fruitful(tx: Transaction, run_id: str, step: int) -> None:
    """An attempt that commits a checkpoint makes progress."""
    await tx.execute(FRUITFUL, run_id, step)


ADD_REMARK = """
    INSERT INTO trainer.remark (tenant, run_id, code, step)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
 RETURNING code
"""


async def add_remark(tx: Transaction, run: Any, code: str, step: int) -> bool:
    """Note that something was said of a step. ``False``: it was said before, perhaps by an earlier attempt."""
    return await tx.fetchval(ADD_REMARK, run["tenant"], run["run_id"], code, step) is not None


TENANT_OF = "SELECT tenant FROM trainer.run WHERE run_id = $1"


async def tenant_of(tx: Transaction, run_id: str) -> str | None:
    """Return whose run it is; ``None``: there is no such run."""
    tenant: str | None = await tx.fetchval(TENANT_OF, run_id)
    return tenant


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
