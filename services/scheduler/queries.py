"""The scheduler's SQL: one function, one statement.

Two facts about the same thing may be taken in at the same moment by two processes. Each function that
decides on a row therefore locks it first, so the second sees what the first committed.
"""

from typing import Any, TypeVar

import msgspec

from contracts.base import Event
from contracts.datasets import DatasetReady
from contracts.jobs import JobCancelAsked, JobDispatched, JobPauseAsked, JobResumeAsked, JobSubmitted
from contracts.recipes import Recipe
from contracts.runs import DeviceOffered, DeviceWithdrawn, LeaseGranted
from libs.db import Transaction
from services.scheduler.domain.estimate import TYPICAL, Calibration, Device
from services.scheduler.domain.job import Job, News, Queued
from services.scheduler.domain.job_states import LETTING_GO, State
from services.scheduler.domain.queue import PRIORITIES, AtWork, Waiting

T = TypeVar("T")

AWAIT_DATASET = """
    INSERT INTO scheduler.dataset AS known (tenant, dataset_id)
    VALUES ($1, $2)
        ON CONFLICT (tenant, dataset_id) DO UPDATE SET news = known.news
 RETURNING news
"""
KEEP_NEWS = """
    INSERT INTO scheduler.dataset AS known (tenant, dataset_id, news)
    VALUES ($1, $2, $3)
        ON CONFLICT (tenant, dataset_id) DO UPDATE SET news = $3
     WHERE known.news IS NULL
"""
NEWS = "SELECT news FROM scheduler.dataset WHERE tenant = $1 AND dataset_id = $2"
ADD_JOB = """
    INSERT INTO scheduler.job AS known (tenant, job_id, state, wish, dataset_id, priority, submitted_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (tenant, job_id) DO UPDATE
       SET state = CASE known.state WHEN 'paused' THEN 'paused' ELSE $3 END,
           wish = $4, dataset_id = $5, priority = $6, submitted_at = $7
     WHERE known.wish IS NULL AND known.state <> 'cancelled'
 RETURNING *
"""
ADD_CANCELLED = """
    INSERT INTO scheduler.job AS known (tenant, job_id, state)
    VALUES ($1, $2, 'cancelled')
        ON CONFLICT (tenant, job_id) DO UPDATE SET state = 'cancelled'
     WHERE known.wish IS NULL AND known.state <> 'cancelled'
 RETURNING job_id
"""
JOB = """
    SELECT *
      FROM scheduler.job
     WHERE tenant = $1 AND job_id = $2 AND wish IS NOT NULL
       FOR UPDATE
"""
HEAR_WISH = """
    INSERT INTO scheduler.job AS known (tenant, job_id, state, wish_version)
    VALUES ($1, $2, 'unknown', $3)
        ON CONFLICT (tenant, job_id) DO UPDATE SET wish_version = $3
     WHERE known.wish_version < $3
 RETURNING state
"""
WAITING_FOR_DATASET = """
    SELECT *
      FROM scheduler.job
     WHERE tenant = $1 AND dataset_id = $2 AND state = 'validating_files'
     ORDER BY submitted_at, job_id
       FOR UPDATE
"""
ENTER = """
    UPDATE scheduler.job
       SET state = $3, changed_at = now()
     WHERE tenant = $1 AND job_id = $2
"""
QUEUE = """
    UPDATE scheduler.job
       SET state = $3, asked = $4, memory_bytes = $5, changed_at = now()
     WHERE tenant = $1 AND job_id = $2
"""
DISPATCH = """
    UPDATE scheduler.job
       SET state = $3, run_id = $4, offer_id = $5, device_id = $6, recipe = $7, device = $8, dispatched_at = now(),
           changed_at = now()
     WHERE tenant = $1 AND job_id = $2
"""
BEGUN = "UPDATE scheduler.job SET begun = true WHERE tenant = $1 AND job_id = $2"
HOLD_MATCHING = """
    SELECT pg_advisory_xact_lock(hashtext('scheduler.matching')), set_config('enable_sort', 'off', true)
"""
HEADS = """
    SELECT job.*, dataset.news
      FROM scheduler.job JOIN scheduler.dataset USING (tenant, dataset_id)
     WHERE job.state = 'queued' AND job.memory_bytes <= $1
     ORDER BY job.rank, job.submitted_at, job.job_id
     LIMIT $2
       FOR UPDATE OF job
"""
SOMEBODY_URGENT = """
    SELECT EXISTS (
        SELECT FROM unnest($1::text[]) WITH ORDINALITY AS above (priority, rank),
                    unnest($1::text[]) WITH ORDINALITY AS below (priority, rank)
         WHERE above.rank < below.rank
           AND (SELECT true FROM scheduler.job WHERE state = 'queued' AND priority = above.priority LIMIT 1)
           AND (SELECT true FROM scheduler.job
                 WHERE state IN ('dispatched', 'running') AND priority = below.priority LIMIT 1)
    )
"""
URGENT = """
    SELECT tenant, job_id, priority, submitted_at, memory_bytes
      FROM scheduler.job
     WHERE state = 'queued' AND priority = ANY($1)
     ORDER BY array_position($1, priority), submitted_at
     LIMIT $2
"""
ON_DEVICE = """
    SELECT job.state, job.tenant, job.job_id, job.priority, job.dispatched_at AS started_at,
           CASE WHEN count(*) OVER (PARTITION BY job.device_id) = 1 THEN (job.device->>'memory_bytes')::bigint
                ELSE job.memory_bytes + coalesce((known.offer->>'memory_bytes')::bigint, 0)
           END AS memory_bytes
      FROM scheduler.job
      LEFT JOIN scheduler.device AS known ON known.device_id = job.device_id AND known.state = 'open'
     WHERE job.state IN ('dispatched', 'running', 'pausing', 'yielding')
"""
COMING = "SELECT coming_bytes FROM scheduler.device WHERE coming_at > now() - interval '30 seconds'"
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
TAKEN_AGAIN = """
    UPDATE scheduler.device
       SET coming_at = NULL
     WHERE device_id = $1 AND coming_at IS NOT NULL
 RETURNING device_id
"""
MOVE = """
    UPDATE scheduler.job
       SET device_id = $4, fence = $5
      FROM scheduler.job AS before
     WHERE job.tenant = $1 AND job.job_id = $2 AND job.run_id = $3 AND job.fence < $5
       AND before.tenant = job.tenant AND before.job_id = job.job_id
 RETURNING before.device_id <> $4
"""
OFFER = """
    INSERT INTO scheduler.device AS known (device_id, offer_id, version, state, offer, at, most_bytes)
    VALUES ($1, $2, $3, 'open', $4, $5, $6)
        ON CONFLICT (device_id) DO UPDATE
       SET offer_id = $2, version = $3, state = 'open', offer = $4, at = $5, coming_at = NULL,
           most_bytes = greatest(known.most_bytes, $6)
     WHERE known.version < $3
"""
WITHDRAW = """
    INSERT INTO scheduler.device AS known (device_id, offer_id, version, state, at)
    VALUES ($1, $2, $3, 'withdrawn', $4)
        ON CONFLICT (device_id) DO UPDATE
       SET offer_id = $2, version = $3, state = 'withdrawn', at = $4, coming_at = NULL
     WHERE known.version < $3
"""
OPEN_OFFERS = """
    SELECT offer
      FROM scheduler.device
     WHERE state = 'open'
     ORDER BY at, device_id
       FOR UPDATE
"""
TAKE_OFFERS = "UPDATE scheduler.device SET state = 'taken' WHERE offer_id = ANY($1)"
LIKELY_OFFER = """
    SELECT offer
      FROM scheduler.device
     WHERE offer IS NOT NULL
     ORDER BY state = 'open' DESC, at DESC
     LIMIT 1
"""
LARGEST_MEMORY = "SELECT max(most_bytes) FROM scheduler.device WHERE offer IS NOT NULL"
CALIBRATION = """
    SELECT runs, log_ratio, spread, start_up, memory_ratio
      FROM scheduler.calibration
     WHERE base_model = $1 AND method = $2 AND kind = $3 AND precision = $4
"""
CALIBRATIONS = """
    SELECT base_model, method, kind, precision, runs, log_ratio, spread, start_up, memory_ratio
      FROM scheduler.calibration
"""
HOLD_CALIBRATION = """
    INSERT INTO scheduler.calibration AS known
           (base_model, method, kind, precision, runs, log_ratio, spread, start_up, memory_ratio)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (base_model, method, kind, precision) DO UPDATE SET runs = known.runs
 RETURNING runs, log_ratio, spread, start_up, memory_ratio
"""
KEEP_CALIBRATION = """
    UPDATE scheduler.calibration
       SET runs = $5, log_ratio = $6, spread = $7, start_up = $8, memory_ratio = $9
     WHERE base_model = $1 AND method = $2 AND kind = $3 AND precision = $4
"""


async def await_dataset(tx: Transaction, tenant: str, dataset_id: str) -> News | None:
    """Return the news of a dataset, if there is any, and make what comes later wait for this transaction's end."""
    return _news(await tx.fetchval(AWAIT_DATASET, tenant, dataset_id))


async def keep_news(tx: Transaction, news: News) -> None:
    """Write down that a dataset can train, or why it never will. What was said first stands."""
    await tx.execute(KEEP_NEWS, news.tenant, news.dataset_id, _json(news))


async def news(tx: Transaction, tenant: str, dataset_id: str) -> News | None:
    """Read the news of a dataset."""
    return _news(await tx.fetchval(NEWS, tenant, dataset_id))


async def add_job(tx: Transaction, wish: JobSubmitted, state: State) -> Job | None:
    """Write a job down. ``None``: it is known already, or was cancelled before its wish arrived."""
    row = await tx.fetchrow(
        ADD_JOB, wish.tenant, wish.job_id, state, _json(wish), wish.dataset_id, wish.priority, wish.at
    )
    return _job(row) if row else None


async def add_cancelled(tx: Transaction, asked: JobCancelAsked) -> bool:
    """Write down the end of a job whose wish has not arrived. ``False``: the job is known."""
    return await tx.fetchval(ADD_CANCELLED, asked.tenant, asked.job_id) is not None


async def job(tx: Transaction, tenant: str, job_id: str) -> Job | None:
    """Read and lock a job."""
    row = await tx.fetchrow(JOB, tenant, job_id)
    return _job(row) if row else None


async def hear_wish(tx: Transaction, asked: JobPauseAsked | JobResumeAsked) -> State | None:
    """Lock the job a wish is about, known or not, and return its state. ``None``: a newer wish was heard already."""
    state = await tx.fetchval(HEAR_WISH, asked.tenant, asked.job_id, asked.version)
    return State(state) if state else None


async def waiting_for_dataset(tx: Transaction, tenant: str, dataset_id: str) -> list[Job]:
    """Read and lock the jobs that wait for this dataset, oldest first."""
    return [_job(row) for row in await tx.fetch(WAITING_FOR_DATASET, tenant, dataset_id)]


async def enter(tx: Transaction, job: Job | JobPauseAsked | JobResumeAsked, state: State) -> None:
    """Move a locked job, or the one a wish is about, to a state."""
    await tx.execute(ENTER, job.tenant, job.job_id, state)


async def queue(tx: Transaction, job: Job, state: State, asked: Recipe, memory_bytes: int) -> None:
    """Put a job in the queue with its complete recipe and the memory it needs of a device."""
    await tx.execute(QUEUE, job.tenant, job.job_id, state, _json(asked), memory_bytes)


async def dispatch(tx: Transaction, jobs: list[tuple[JobDispatched, Device]], state: State) -> None:
    """Write down which runs jobs became, with which recipes on which devices."""
    rows = [
        (job.tenant, job.job_id, state, job.run_id, job.offer_id, job.device_id, _json(job.recipe), _json(device))
        for job, device in jobs
    ]
    await tx.executemany(DISPATCH, rows)


async def set_begun(tx: Transaction, job: Job) -> None:
    """Note that the trainer keeps the job's run."""
    await tx.execute(BEGUN, job.tenant, job.job_id)


async def hold_matching(tx: Transaction) -> None:
    """Be the only one that matches jobs with devices until this transaction ends.

    Row-level security makes the planner expect next to no rows, and then it sorts the whole queue rather than read its
    head from the index that has its order: hence no sorting where it can be avoided.
    """
    await tx.execute(HOLD_MATCHING)


async def heads(tx: Transaction, memory_bytes: int, most: int) -> list[Queued]:
    """Read and lock the first ``most`` queued jobs, of every tenant, that fit a device with this much memory."""
    return [_queued(row) for row in await tx.fetch(HEADS, memory_bytes, most)]


async def somebody_urgent(tx: Transaction) -> bool:
    """Whether a queued job is more urgent than one at work: mostly not, and answered by looking at single rows."""
    return bool(await tx.fetchval(SOMEBODY_URGENT, list(PRIORITIES)))


async def urgent(tx: Transaction, priorities: list[str], most: int) -> list[Waiting]:
    """Read the first ``most`` queued jobs of these priorities, the most urgent first."""
    return [Waiting(**row) for row in await tx.fetch(URGENT, priorities, most)]


async def on_device(tx: Transaction) -> tuple[list[AtWork], list[int]]:
    """Read every tenant's jobs at work, and the memory of devices that are being let go already.

    A job alone on its device frees the whole of it; one that shares it frees its share beside what is on offer.
    """
    rows = [dict(row) for row in await tx.fetch(ON_DEVICE)]
    letting_go = [State(row.pop("state")) in LETTING_GO for row in rows]
    at_work = [AtWork(**row) for row, going in zip(rows, letting_go, strict=True) if not going]
    return at_work, [row["memory_bytes"] for row, going in zip(rows, letting_go, strict=True) if going]


async def coming(tx: Transaction) -> list[int]:
    """Return the memory that was let go on each device and is not on offer yet (it is soon, or never)."""
    return [row["coming_bytes"] for row in await tx.fetch(COMING)]


async def let_go(tx: Transaction, job: Job) -> None:
    """Note that the device a job was on will be offered again."""
    await tx.execute(LET_GO, job.tenant, job.job_id)


async def taken_again(tx: Transaction, device_id: str) -> bool:
    """Note that a device on its way will not be offered: a run that recovers has it."""
    return await tx.fetchval(TAKEN_AGAIN, device_id) is not None


async def move(tx: Transaction, lease: LeaseGranted) -> bool:
    """Note which device a run is on now. ``True``: it is another one than before."""
    moved = await tx.fetchval(MOVE, lease.tenant, lease.job_id, lease.run_id, lease.device_id, lease.fence)
    return bool(moved)


async def offer(tx: Transaction, offered: DeviceOffered) -> None:
    """Open an offer in place of the device's older one; a later word on the device stands."""
    await tx.execute(
        OFFER,
        offered.device_id,
        offered.offer_id,
        offered.version,
        _json(offered),
        offered.at,
        offered.memory_bytes,
    )


async def withdraw(tx: Transaction, gone: DeviceWithdrawn) -> None:
    """Close a device's offer, also one that has not arrived yet."""
    await tx.execute(WITHDRAW, gone.device_id, gone.offer_id, gone.version, gone.at)


async def open_offers(tx: Transaction) -> list[DeviceOffered]:
    """Read and lock the devices on offer, longest idle first."""
    return [msgspec.json.decode(row["offer"], type=DeviceOffered) for row in await tx.fetch(OPEN_OFFERS)]


async def take_offers(tx: Transaction, offer_ids: list[str]) -> None:
    """Close offers because jobs were dispatched to them."""
    await tx.execute(TAKE_OFFERS, offer_ids)


async def likely_device(tx: Transaction) -> Device:
    """Return the device a job would most likely get: one on offer, else the last that was, else a typical one."""
    found = await tx.fetchval(LIKELY_OFFER)
    return msgspec.json.decode(found, type=Device) if found else TYPICAL


async def largest_memory(tx: Transaction) -> int | None:
    """Return the memory of the largest device that was ever on offer; ``None`` before the first."""
    found: int | None = await tx.fetchval(LARGEST_MEMORY)
    return found


async def calibration(tx: Transaction, recipe: Recipe, device: Device) -> Calibration:
    """Read what runs of this model and method on this kind of device taught."""
    row = await tx.fetchrow(CALIBRATION, *learned_under(recipe, device))
    return Calibration(**row) if row else Calibration()


async def calibrations(tx: Transaction) -> dict[tuple[str, str, str, str], Calibration]:
    """Read what runs taught, as ``learned_under`` names it."""
    return {
        (model, method, kind, precision): Calibration(**dict(zip(Calibration.__struct_fields__, learned, strict=True)))
        for model, method, kind, precision, *learned in await tx.fetch(CALIBRATIONS)
    }


async def hold_calibration(tx: Transaction, recipe: Recipe, device: Device) -> Calibration:
    """Read and lock a calibration, so that two runs that finish together are both learned from."""
    [row] = await tx.fetch(HOLD_CALIBRATION, *learned_under(recipe, device), *msgspec.structs.astuple(Calibration()))
    return Calibration(**row)


async def keep_calibration(tx: Transaction, recipe: Recipe, device: Device, learned: Calibration) -> None:
    """Write a locked calibration."""
    await tx.execute(KEEP_CALIBRATION, *learned_under(recipe, device), *msgspec.structs.astuple(learned))


def learned_under(recipe: Recipe, device: Device) -> tuple[str, str, str, str]:
    """Return what a calibration is kept under: model, method, kind of device and precision."""
    return recipe.base_model, recipe.method, device.kind, device.precision


def _job(row: Any) -> Job:
    return Job(
        tenant=row["tenant"],
        job_id=row["job_id"],
        state=State(row["state"]),
        wish=msgspec.json.decode(row["wish"], type=JobSubmitted),
        asked=_decoded(row["asked"], Recipe),
        run_id=row["run_id"],
        offer_id=row["offer_id"],
        begun=row["begun"],
        recipe=_decoded(row["recipe"], Recipe),
        device=_decoded(row["device"], Device),
    )


def _queued(row: Any) -> Queued:
    return Queued(
        tenant=row["tenant"],
        job_id=row["job_id"],
        priority=row["priority"],
        submitted_at=row["submitted_at"],
        memory_bytes=row["memory_bytes"],
        job=_job(row),
        ready=msgspec.json.decode(row["news"], type=DatasetReady),
    )


def _news(text: str | None) -> News | None:
    return msgspec.json.decode(text, type=News) if text else None


def _decoded(text: str | None, kind: type[T]) -> T | None:
    return msgspec.json.decode(text, type=kind) if text else None


def _json(value: Event | Recipe | Device) -> str:
    return msgspec.json.encode(value).decode()
