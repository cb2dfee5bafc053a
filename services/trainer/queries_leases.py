"""The SQL of leases: who holds which device, under which fence, and for how long. One function, one statement."""

from datetime import datetime
from typing import Any

from libs.db import Transaction
from services.trainer.domain.leftovers import Ended

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
       AND device.device_id = $2 AND device.online AND run.needs <@ device.features
       AND held.bytes + run.memory_bytes <= device.memory_bytes AND (device.shared OR held.leases = 0)
        ON CONFLICT DO NOTHING
 RETURNING fence, attempt
"""


async def grant(tx: Transaction, run_id: str, device_id: str, at: datetime) -> Any:
    """Give a device, or its share of one, to a run under the next fence.

    ``None``: it does not fit, is taken, or does not understand the run's recipe.

    The caller has locked the device (``take_offer``, ``devices_with_room``) in an earlier statement of the same
    transaction: of two grants the second therefore sees the first's lease in the sum of what is held.
    """
    return await tx.fetchrow(GRANT, run_id, device_id, at)


UNLAUNCHED = """
    SELECT lease.fence, lease.runner, lease.session, lease.attempt, lease.device_id, run.*,
           machine.price / machine.devices AS price
      FROM trainer.lease JOIN trainer.run USING (run_id) LEFT JOIN trainer.machine ON machine.key = lease.runner
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


END_LEASE = """
       UPDATE trainer.lease SET ended_at = greatest($2, granted_at), ended_how = $3
        WHERE fence = $1 AND ended_at IS NULL
    RETURNING device_id
"""


async def end_lease(tx: Transaction, fence: int, at: datetime, how: str) -> bool:
    """Free the device. ``False``: it was freed before. A clock that was set back gives no lease less than no time."""
    return await tx.fetchval(END_LEASE, fence, at, how) is not None


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


LOOK = """
    SELECT run.run_id, run.tenant, run.job_id, run.attempt, run.state, run.steps, run.budget, lease.runner,
           lease.session
      FROM trainer.lease JOIN trainer.run USING (run_id)
     WHERE lease.fence = $1 AND lease.ended_at IS NULL
"""


async def look(tx: Transaction, fence: int) -> Any:
    """Return the run behind a fence, unlocked: for telemetry."""
    return await tx.fetchrow(LOOK, fence)


ENDED_LEASES = """
    SELECT lease.fence, lease.ended_at, run.state = 'succeeded' AND lease.ended_how = 'done' AS delivered
      FROM trainer.lease JOIN trainer.run USING (run_id)
     WHERE lease.fence = ANY($1) AND lease.ended_at IS NOT NULL
"""


async def ended_leases(tx: Transaction, fences: set[int]) -> dict[int, Ended]:
    """Return those of the leases that are over."""
    rows = await tx.fetch(ENDED_LEASES, list(fences))
    return {row["fence"]: Ended(row["fence"], row["ended_at"], row["delivered"]) for row in rows}
