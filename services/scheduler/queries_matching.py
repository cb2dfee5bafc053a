"""The SQL of matching: whose turn it is, who is more urgent than what is at work, and who got which device."""

from libs.db import Transaction
from services.scheduler.domain.job import Given, Queued
from services.scheduler.domain.job_states import LETTING_GO, State
from services.scheduler.domain.queue import PRIORITIES, AtWork, Room, Roomy, Waiting
from services.scheduler.rows import as_json, queued_of

HOLD_MATCHING = """
    SELECT pg_advisory_xact_lock(hashtext('scheduler.matching')), set_config('enable_sort', 'off', true)
"""


async def hold_matching(tx: Transaction) -> None:
    """Be the only one that matches jobs with devices until this transaction ends.

    Row-level security makes the planner expect next to no rows, and then it sorts the whole queue rather than read its
    head from the index that has its order: hence no sorting where it can be avoided.
    """
    await tx.execute(HOLD_MATCHING)


HEADS = """
    SELECT job.*, dataset.news
      FROM scheduler.job JOIN scheduler.dataset USING (tenant, dataset_id)
     WHERE job.state = 'queued' AND job.memory_bytes <= $1 AND job.needs <@ $4 AND job.tenant <> ALL($3)
     ORDER BY job.rank, job.submitted_at, job.job_id
     LIMIT $2
       FOR UPDATE OF job
"""


async def heads(tx: Transaction, device: Roomy, most: int, short: list[str]) -> list[Queued]:
    """Read and lock the first ``most`` queued jobs that fit such a device, but of nobody ``short``."""
    rows = await tx.fetch(HEADS, device.memory_bytes, most, short, list(device.features))
    return [queued_of(row) for row in rows]


DISPATCH = """
      WITH given AS MATERIALIZED (
           SELECT *
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                         $9::bigint[])
                  AS given (tenant, job_id, run_id, offer_id, device_id, recipe, device, held)),
           taken AS (
           UPDATE scheduler.device SET state = 'taken' FROM given WHERE device.device_id = given.device_id)
    UPDATE scheduler.job
       SET state = $1, run_id = given.run_id, offer_id = given.offer_id, device_id = given.device_id,
           recipe = given.recipe::jsonb, device = given.device::jsonb, held = given.held,
           dispatched_at = now(), changed_at = now()
      FROM given
     WHERE job.tenant = given.tenant AND job.job_id = given.job_id
"""


async def dispatch(tx: Transaction, jobs: list[Given], state: State) -> None:
    """Write down which runs jobs became, with which recipes on which devices; their offers are open no more."""
    if not jobs:
        return
    rows = [
        (job.tenant, job.job_id, job.run_id, job.offer_id, job.device_id, as_json(job.recipe), as_json(device), held)
        for job, device, held in ((each.fact, each.device, each.held) for each in jobs)
    ]
    await tx.execute(DISPATCH, state, *map(list, zip(*rows, strict=True)))


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


async def somebody_urgent(tx: Transaction) -> bool:
    """Whether a queued job is more urgent than one at work: mostly not, and answered by looking at single rows."""
    return bool(await tx.fetchval(SOMEBODY_URGENT, list(PRIORITIES)))


URGENT = """
    SELECT tenant, job_id, priority, submitted_at, memory_bytes, needs
      FROM scheduler.job
     WHERE state = 'queued' AND priority = ANY($1) AND tenant <> ALL($3)
     ORDER BY array_position($1, priority), submitted_at
     LIMIT $2
"""


async def urgent(tx: Transaction, priorities: list[str], most: int, short: list[str]) -> list[Waiting]:
    """Read the first ``most`` queued jobs of these priorities but of nobody ``short``, the most urgent first."""
    rows = [dict(row) for row in await tx.fetch(URGENT, priorities, most, short)]
    return [Waiting(**row | {"needs": tuple(row["needs"])}) for row in rows]


ON_DEVICE = """
    SELECT job.state, job.tenant, job.job_id, job.priority, job.dispatched_at AS started_at,
           CASE WHEN count(*) OVER (PARTITION BY device_id) = 1 THEN (job.device->>'memory_bytes')::bigint
                ELSE job.memory_bytes
                     + CASE known.state WHEN 'open' THEN (known.offer->>'memory_bytes')::bigint ELSE 0 END
           END AS memory_bytes,
           coalesce(known.features, '{}') AS features
      FROM scheduler.job LEFT JOIN scheduler.device AS known USING (device_id)
     WHERE job.state IN ('dispatched', 'running', 'pausing', 'yielding')
"""


async def on_device(tx: Transaction) -> tuple[list[AtWork], list[Room]]:
    """Read every tenant's jobs at work, and the devices that are being let go already.

    A job alone on its device frees the whole of it; one that shares it frees its share beside what is on offer.
    """
    rows = [dict(row) | {"features": tuple(row["features"])} for row in await tx.fetch(ON_DEVICE)]
    letting_go = [State(row.pop("state")) in LETTING_GO for row in rows]
    at_work = [AtWork(**row) for row, going in zip(rows, letting_go, strict=True) if not going]
    going = [row for row, going in zip(rows, letting_go, strict=True) if going]
    return at_work, [Room(row["memory_bytes"], row["features"]) for row in going]
