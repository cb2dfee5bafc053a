"""The SQL of devices on offer, and of those on their way back: one function, one statement."""

import msgspec

from contracts.runs import DeviceOffered, DeviceWithdrawn
from libs.db import Transaction
from services.scheduler.domain.estimate import TYPICAL, Device
from services.scheduler.domain.job import Job
from services.scheduler.domain.queue import Room
from services.scheduler.rows import as_json

OFFER = """
    INSERT INTO scheduler.device AS known (device_id, offer_id, version, state, offer, at, most_bytes, features)
    VALUES ($1, $2, $3, 'open', $4, $5, $6, $7)
        ON CONFLICT (device_id) DO UPDATE
       SET offer_id = $2, version = $3, state = 'open', offer = $4, at = $5, coming_at = NULL,
           most_bytes = greatest(known.most_bytes, $6), features = $7
     WHERE known.version < $3
"""


async def offer(tx: Transaction, offered: DeviceOffered) -> None:
    """Open an offer in place of the device's older one; a later word on the device stands."""
    await tx.execute(
        OFFER,
        offered.device_id,
        offered.offer_id,
        offered.version,
        as_json(offered),
        offered.at,
        offered.memory_bytes,
        list(offered.features),
    )


WITHDRAW = """
    INSERT INTO scheduler.device AS known (device_id, offer_id, version, state, at)
    VALUES ($1, $2, $3, 'withdrawn', $4)
        ON CONFLICT (device_id) DO UPDATE
       SET offer_id = $2, version = $3, state = 'withdrawn', at = $4, coming_at = NULL
     WHERE known.version < $3
"""


async def withdraw(tx: Transaction, gone: DeviceWithdrawn) -> None:
    """Close a device's offer, also one that has not arrived yet."""
    await tx.execute(WITHDRAW, gone.device_id, gone.offer_id, gone.version, gone.at)


OPEN_OFFERS = """
    SELECT offer
      FROM scheduler.device
     WHERE state = 'open'
     ORDER BY at, device_id
       FOR UPDATE
"""


async def open_offers(tx: Transaction) -> list[DeviceOffered]:
    """Read and lock the devices on offer, longest idle first."""
    return [msgspec.json.decode(row["offer"], type=DeviceOffered) for row in await tx.fetch(OPEN_OFFERS)]


LET_GO = """
    UPDATE scheduler.device AS known
       SET coming_at = now(), coming_bytes = freed.bytes
      FROM (SELECT job.device_id,
                   CASE WHEN EXISTS (
                             SELECT FROM scheduler.job AS other
                              WHERE other.device_id = job.device_id
                                AND other.state IN ('dispatched', 'running', 'pausing', 'yielding')
                                AND (other.tenant, other.job_id) <> (job.tenant, job.job_id))
                        THEN job.memory_bytes + coalesce((
                             SELECT (offer->>'memory_bytes')::bigint
                               FROM scheduler.device AS rest
                              WHERE rest.device_id = job.device_id AND rest.state = 'open'), 0)
                        ELSE (job.device->>'memory_bytes')::bigint
                   END AS bytes
              FROM scheduler.job
             WHERE tenant = $1 AND job_id = $2) AS freed
     WHERE known.device_id = freed.device_id
       AND NOT (known.state = 'open' AND (known.offer->>'memory_bytes')::bigint >= freed.bytes)
"""


async def let_go(tx: Transaction, job: Job) -> None:
    """Note that the device a job was on will be offered again."""
    await tx.execute(LET_GO, job.tenant, job.job_id)


COMING = "SELECT coming_bytes, features FROM scheduler.device WHERE coming_at > now() - interval '30 seconds'"


async def coming(tx: Transaction) -> list[Room]:
    """Return what was let go of each device and is not on offer yet (it is soon, or never)."""
    return [Room(row["coming_bytes"], tuple(row["features"])) for row in await tx.fetch(COMING)]


TAKEN_AGAIN = """
    UPDATE scheduler.device
       SET coming_at = NULL
     WHERE device_id = $1 AND coming_at IS NOT NULL
 RETURNING device_id
"""


async def taken_again(tx: Transaction, device_id: str) -> bool:
    """Note that a device on its way will not be offered: a run that recovers has it."""
    return await tx.fetchval(TAKEN_AGAIN, device_id) is not None


LIKELY_OFFER = """
    SELECT offer
      FROM scheduler.device
     WHERE offer IS NOT NULL
     ORDER BY $1 <@ features DESC, state = 'open' DESC, at DESC
     LIMIT 1
"""


async def likely_device(tx: Transaction, needs: tuple[str, ...]) -> Device:
    """Return the device a job with such needs would most likely get, or a typical one where there was none yet.

    That is one on offer, else the last that was, but first one that understands its recipe.
    """
    found = await tx.fetchval(LIKELY_OFFER, list(needs))
    return msgspec.json.decode(found, type=Device) if found else TYPICAL


LARGEST_MEMORY = "SELECT max(most_bytes) FROM scheduler.device WHERE offer IS NOT NULL"


async def largest_memory(tx: Transaction) -> int | None:
    """Return the memory of the largest device that was ever on offer; ``None`` before the first."""
    found: int | None = await tx.fetchval(LARGEST_MEMORY)
    return found


UNDERSTOOD = "SELECT features FROM scheduler.device WHERE offer IS NOT NULL"


async def understood(tx: Transaction) -> set[str] | None:
    """Return what any device that was ever on offer understands of recipes; ``None`` before the first."""
    rows = await tx.fetch(UNDERSTOOD)
    return {each for row in rows for each in row["features"]} if rows else None
