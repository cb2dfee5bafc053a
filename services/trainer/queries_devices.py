"""The SQL of devices, the runners they belong to and the offers that stand for them: one function, one statement."""

from typing import Any

from libs.db import Transaction
from services.trainer.line import DeviceFound, Hello

ADD_DEVICE = """
    INSERT INTO trainer.device AS known
           (device_id, runner, kind, precision, threads, memory_bytes, flops, torch_device, shared, session,
            features)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (device_id) DO UPDATE
       SET kind = $3, precision = $4, threads = $5, memory_bytes = $6, flops = $7, torch_device = $8, shared = $9,
           session = $10, features = $11, online = true, leaving = false
     WHERE known.runner = $2
 RETURNING device_id
"""


async def add_device(tx: Transaction, said: Hello, device: DeviceFound) -> bool:
    """Enter a device, or bring it up to date and online. ``False``: it belongs to another runner."""
    added = await tx.fetchval(
        ADD_DEVICE, device.device_id, said.runner, device.kind, device.precision, device.threads, device.memory_bytes,
        device.flops, device.torch_device, said.shared, said.session, list(device.features),
    )  # fmt: skip
    return added is not None


SESSION_OF = "SELECT session FROM trainer.device WHERE runner = $1 AND NOT leaving LIMIT 1"


async def session_of(tx: Transaction, runner: str) -> str | None:
    """Return the process that a runner last said hello from; ``None``: it never did, or has left since."""
    session: str | None = await tx.fetchval(SESSION_OF, runner)
    return session


OFFLINE = """
       UPDATE trainer.device SET online = false, offer_id = NULL, leaving = $2
        FROM trainer.device AS before
        WHERE device.device_id = before.device_id AND device.runner = $1 AND (device.online OR $2)
    RETURNING device.device_id, before.offer_id
"""


async def take_offline(tx: Transaction, runner: str, *, leaving: bool = False) -> list[Any]:
    """Mark the devices of a runner that is silent, or ``leaving``; return each with the offer that stood."""
    return list(await tx.fetch(OFFLINE, runner, leaving))


LOCK_ONLINE = "SELECT device_id FROM trainer.device WHERE online ORDER BY device_id FOR UPDATE SKIP LOCKED"
WITH_ROOM = """
    SELECT device.*, device.memory_bytes - held.bytes AS free_bytes
      FROM trainer.device
     CROSS JOIN LATERAL (
           SELECT count(*) AS leases, coalesce(sum(lease.memory_bytes), 0)::bigint AS bytes
             FROM trainer.lease
            WHERE lease.device_id = device.device_id AND ended_at IS NULL
           ) AS held
     WHERE device_id = ANY($1) AND (held.leases = 0 OR shared AND held.bytes < device.memory_bytes)
     ORDER BY device_id
"""


async def devices_with_room(tx: Transaction) -> list[Any]:
    """Lock and return the devices that nobody holds, and the shared ones with memory left, with what is free.

    Two statements: one that locks and counts would count the leases of its snapshot, taken before the lock.
    """
    locked = [row["device_id"] for row in await tx.fetch(LOCK_ONLINE)]
    return list(await tx.fetch(WITH_ROOM, locked))


SET_OFFER = "UPDATE trainer.device SET offer_id = $2, offered_bytes = $3 WHERE device_id = $1"


async def set_offer(tx: Transaction, device_id: str, offer_id: str | None, memory_bytes: int = 0) -> None:
    """Record the offer that stands for a device and the memory it promises, or that none does."""
    await tx.execute(SET_OFFER, device_id, offer_id, memory_bytes)


TAKE_OFFER = """
       UPDATE trainer.device SET offer_id = NULL
        WHERE device_id = $1 AND offer_id = $2 AND online
    RETURNING memory_bytes
"""


async def take_offer(tx: Transaction, device_id: str, offer_id: str) -> int | None:
    """Use up an offer, lock the device and return its memory in bytes; ``None``: the offer no longer stands."""
    memory_bytes: int | None = await tx.fetchval(TAKE_OFFER, device_id, offer_id)
    return memory_bytes


COME_BACK = """
    UPDATE trainer.device
       SET online = true
     WHERE runner = $1 AND NOT online AND NOT leaving
 RETURNING device_id
"""


async def come_back(tx: Transaction, runner: str) -> bool:
    """Bring the devices of a runner online that was silent; ``False``: none was taken offline for silence."""
    return bool(await tx.fetch(COME_BACK, runner))


RUNNER_KNOWN = "SELECT EXISTS (SELECT FROM trainer.device WHERE runner = $1 AND session = $2)"


async def runner_known(tx: Transaction, runner: str, session: str) -> bool:
    """Whether this runner has said hello from this process, and none since from another."""
    return bool(await tx.fetchval(RUNNER_KNOWN, runner, session))


MACHINES = """
    SELECT device.device_id, device.runner, device.kind, device.precision, device.threads, device.memory_bytes,
           CASE WHEN held.whole THEN 0 ELSE greatest(device.memory_bytes - held.bytes, 0) END AS free_bytes,
           device.online, device.leaving, device.shared, held.jobs,
           held.leases - cardinality(held.jobs) AS others, coalesce(machine.pool, '') AS pool
      FROM trainer.device
     CROSS JOIN LATERAL (
           SELECT count(*) AS leases, coalesce(sum(lease.memory_bytes), 0)::bigint AS bytes,
                  coalesce(bool_or(NOT lease.shared), false) AS whole,
                  coalesce(array_agg(run.job_id ORDER BY run.job_id) FILTER (WHERE run.tenant = $1), '{}') AS jobs
             FROM trainer.lease JOIN trainer.run USING (run_id)
            WHERE lease.device_id = device.device_id AND lease.ended_at IS NULL
           ) AS held
      LEFT JOIN trainer.machine ON machine.key = device.runner
     WHERE device.online OR held.leases > 0 OR device.runner = ANY($2)
     ORDER BY device.runner, device.device_id
"""


async def machines(tx: Transaction, tenant: str, heard: list[str]) -> list[Any]:
    """Return the devices online, held, or of a runner that was ``heard``; of the jobs on them this tenant's."""
    return list(await tx.fetch(MACHINES, tenant, heard))


COMING = "SELECT count(*) FROM trainer.machine WHERE ended_at IS NULL AND wanted AND heard_at IS NULL"


async def coming(tx: Transaction) -> int:
    """Count the machines that were asked for and not heard of yet."""
    return int(await tx.fetchval(COMING))


ONLINE_RUNNERS = "SELECT DISTINCT runner FROM trainer.device WHERE online"


async def online_runners(tx: Transaction) -> list[str]:
    """Return the runners whose devices are online."""
    return [row["runner"] for row in await tx.fetch(ONLINE_RUNNERS)]
