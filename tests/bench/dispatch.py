"""How fast the scheduler decides who gets a device, with a long queue behind it.

    python -m tests.bench.dispatch [--queued 1000] [--single 300] [--burst 200]

Own PostgreSQL with fsync on; facts are taken in as the bus does it, each in its transaction with its inbox entry. Two
things are measured: one device that comes on offer while ``queued`` jobs wait (the whole reaction, from the begin of
its transaction to its commit), and a match that finds ``burst`` devices on offer at once, which gives decisions a
second. Every decision is checked: each job and offer is dispatched once, in the queue's order. Prints one JSON line.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import msgspec

from contracts.base import Event, new_id, type_of
from contracts.jobs import JobDispatched
from contracts.runs import DeviceOffered
from libs.db import Database
from libs.testing.servers import PASSWORDS
from services.scheduler import queries_devices, steps
from services.scheduler.domain.estimate import Rate
from services.scheduler.handlers import router
from tests.bench.fact_latency import installation
from tests.unit.scheduler.facts import AT, offered, ready, submitted

RATE = Rate(per_hour=0.06, currency="USD")
DISPATCHED = "SELECT body FROM scheduler.outbox WHERE headers->>'ce-type' = $1 ORDER BY seq"
PRIORITIES = ("low", "medium", "high")
ROUNDS = 3


async def hear(db: Database, fact: Event) -> float:
    """Take a fact in as the bus does; return the milliseconds it took."""
    reaction = router.reactions[type_of(type(fact))]
    began = time.perf_counter()
    async with db.across_tenants() as tx:
        if await tx.claim(new_id("evt")):
            await reaction.handler(fact, tx, rate=RATE)
    return 1000 * (time.perf_counter() - began)


async def enqueue(db: Database, first: int, count: int) -> None:
    """Queue jobs of two tenants and three priorities, the later the number the younger the job."""
    for number in range(first, first + count):
        tenant = ("acme", "globex")[number % 2]
        wish = submitted(
            tenant=tenant,
            job_id=f"ftjob-{number:06}",
            priority=PRIORITIES[number % 3],
            at=AT + timedelta(seconds=number),
        )
        await hear(db, wish)


def device(number: int) -> DeviceOffered:
    return offered(device_id=f"cpu-{number}", offer_id=f"offer-{number}", at=AT + timedelta(seconds=number))


async def burst(db: Database, first: int, count: int) -> float:
    """Put many devices on offer, then match them all in one transaction; return decisions a second."""
    async with db.across_tenants() as tx:
        for number in range(first, first + count):
            await queries_devices.offer(tx, device(number))
    began = time.perf_counter()
    async with db.across_tenants() as tx:
        await steps.match(tx, RATE)
    return count / (time.perf_counter() - began)


async def check(db: Database, jobs: int) -> None:
    """Each job once, each offer once, the most urgent and among equals the oldest first."""
    async with db.across_tenants() as tx:
        rows = await tx.fetch(DISPATCHED, type_of(JobDispatched))
    told = [msgspec.json.decode(row["body"], type=JobDispatched) for row in rows]
    assert len({job.job_id for job in told}) == len({job.offer_id for job in told}) == len(told) == jobs, len(told)
    order = [(-(int(job.job_id[-6:]) % 3), job.job_id) for job in told]
    assert order == sorted(order)


async def bench(queued: int, single: int, many: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="woodshed-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        async with installation(Path(folder)) as where:
            url = f"postgresql://woodshed_scheduler:{PASSWORDS['scheduler']}@127.0.0.1:{where['port']}/woodshed"
            db = await Database.connect(url, "scheduler")
            for tenant in ("acme", "globex"):
                await hear(db, ready(tenant=tenant))
            given = single + ROUNDS * many
            await enqueue(db, 0, queued + given)
            took = sorted([await hear(db, device(number)) for number in range(single)])
            rates = sorted([await burst(db, single + turn * many, many) for turn in range(ROUNDS)])
            await check(db, given)
            await db.close()
    return {
        "queued_behind": queued,
        "single_decisions": single,
        "single_p50_ms": round(took[len(took) // 2], 2),
        "single_p99_ms": round(took[int(0.99 * len(took))], 2),
        "single_per_second": round(1000 * single / sum(took)),
        "burst": many,
        "burst_decisions_per_second": [round(each) for each in rates],
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--single", type=int, default=300)
    parser.add_argument("--burst", type=int, default=200)
    asked = parser.parse_args()
    print(json.dumps(asyncio.run(bench(asked.queued, asked.single, asked.burst))))


if __name__ == "__main__":
    main()
