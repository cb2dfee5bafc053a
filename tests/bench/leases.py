"""Grants under contention: how many a second, how long each takes, and whether one device was ever held too often.

    python -m tests.bench.leases [--grants 4000] [--processes 4] [--connections 4]

Own PostgreSQL with fsync on. Every worker asks for a random run on a random of four devices, two of them shared by
memory with room for three runs, gives it back at once, and asks again, until that many grants were given. What a lease
row then says is when its holder really began (after the commit) and ended (before the statement that ends it): rows
that overlap are double leases. Prints one JSON line.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from contracts.jobs import Estimate, JobDispatched
from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.db import Database
from libs.db.database import now
from libs.testing.servers import PASSWORDS
from services.trainer import queries, queries_devices, queries_dispatches, queries_leases
from services.trainer.line import DeviceFound, Hello
from tests.bench.fact_latency import installation

RUNS = 12
ROOM_FOR = 3
NEED = 1_000_000_000
DEVICES = {"alone-0": False, "alone-1": False, "shared-0": True, "shared-1": True}
HELD = "UPDATE trainer.lease SET granted_at = $2 WHERE fence = $1"
DOUBLE = """
    SELECT count(*)
      FROM (SELECT granted_at, shared,
                   lag(ended_at) OVER (PARTITION BY run_id ORDER BY granted_at) AS run_until,
                   lag(ended_at) OVER (PARTITION BY device_id ORDER BY granted_at) AS device_until
              FROM trainer.lease) AS held
     WHERE run_until > granted_at OR (NOT shared AND device_until > granted_at)
"""
FULLEST = """
    SELECT max(held)
      FROM (SELECT sum(bytes) OVER (PARTITION BY device_id ORDER BY at, bytes) AS held
              FROM (SELECT device_id, granted_at AS at, memory_bytes AS bytes FROM trainer.lease WHERE shared
                     UNION ALL
                    SELECT device_id, ended_at, -memory_bytes FROM trainer.lease WHERE shared) AS changes) AS sums
"""
REST = "SELECT count(*) AS grants, count(*) FILTER (WHERE ended_at IS NULL) AS open FROM trainer.lease"


async def prepare(db: Database) -> None:
    """Enter the devices, and runs that wait for one."""
    async with db.across_tenants() as tx:
        for name, shared in DEVICES.items():
            device = DeviceFound(
                device_id=name,
                kind="bench",
                precision="float32",
                threads=1,
                memory_bytes=ROOM_FOR * NEED,
                flops=1.0,
                torch_device="cpu",
            )
            await queries_devices.add_device(tx, Hello(runner="bench", devices=(), shared=shared), device)
        for number in range(RUNS):
            await queries_dispatches.add_run(tx, job(number), 10, NEED)


def job(number: int) -> JobDispatched:
    estimate = Estimate(
        seconds=1, seconds_low=1, seconds_high=1, cost=0, currency="USD", memory_bytes=NEED, steps=1, tokens=1
    )
    return JobDispatched(
        tenant="acme",
        at=now(),
        job_id=f"ftjob-{number}",
        run_id=f"run-{number}",
        offer_id="offer-1",
        device_id="alone-0",
        recipe=Recipe(base_model=SHIPPED_MODEL),
        estimate=estimate,
        dataset_id="dataset-1",
        dataset_digest="a" * 64,
        dataset_uri="acme/datasets/a",
    )


async def take(db: Database, run: str, device: str) -> int | None:
    """Ask for a device as the control does: lock it, grant, note the attempt, commit."""
    async with db.across_tenants() as tx:
        await queries_devices.set_offer(tx, device, None)
        granted = await queries_leases.grant(tx, run, device, now())
        if granted is None:
            return None
        await queries.begin_attempt(tx, run, granted["attempt"])
        return int(granted["fence"])


async def give_back(db: Database, run: str, fence: int, since: datetime) -> None:
    async with db.across_tenants() as tx:
        await queries_leases.end_lease(tx, fence, now(), "done")
        await tx.execute(HELD, fence, since)
        await queries.set_state(tx, run, "recovering")


async def work(url: str, grants: int, connections: int) -> None:
    """One process: prints the seconds of each grant it was given, and how many it was refused."""
    db = await Database.connect(url, "trainer", size=connections)
    took: list[float] = []
    refused = 0

    async def one(seed: int) -> None:
        nonlocal refused
        chance = random.Random(seed)
        while len(took) < grants:
            run, device = f"run-{chance.randrange(RUNS)}", chance.choice(list(DEVICES))
            began = time.perf_counter()
            fence = await take(db, run, device)
            if fence is None:
                refused += 1
                continue
            took.append(time.perf_counter() - began)
            since = now()
            await asyncio.sleep(0)
            await give_back(db, run, fence, since)

    await asyncio.gather(*(one(os.getpid() * 1000 + number) for number in range(connections)))
    await db.close()
    print(json.dumps({"took": took, "refused": refused}))


async def bench(grants: int, processes: int, connections: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="woodshed-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        async with installation(Path(folder)) as where:
            url = f"postgresql://woodshed_trainer:{PASSWORDS['trainer']}@127.0.0.1:{where['port']}/woodshed"
            db = await Database.connect(url, "trainer", size=1)
            await prepare(db)
            began = time.perf_counter()
            command = [sys.executable, "-m", "tests.bench.leases", "--work", url]
            command += ["--grants", str(-(-grants // processes)), "--connections", str(connections)]
            said = await asyncio.gather(*(_said(command) for _ in range(processes)))
            seconds = time.perf_counter() - began
            async with db.across_tenants() as tx:
                double, fullest = await tx.fetchval(DOUBLE), int(await tx.fetchval(FULLEST))
                rest = dict(await tx.fetchrow(REST) or {})
            await db.close()
    took = sorted(1000 * each for one in said for each in one["took"])
    return rest | {
        "refused": sum(one["refused"] for one in said),
        "double_leases": double,
        "fullest_shared_device": f"{fullest / NEED:g} of {ROOM_FOR} runs",
        "grants_per_second": round(len(took) / seconds),
        "p50_ms": round(took[len(took) // 2], 2),
        "p99_ms": round(took[int(0.99 * len(took))], 2),
        "workers": processes * connections,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


async def _said(command: list[str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    answer: dict[str, Any] = json.loads(said)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--grants", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--work")
    asked = parser.parse_args()
    if asked.work:
        asyncio.run(work(asked.work, asked.grants, asked.connections))
    else:
        print(json.dumps(asyncio.run(bench(asked.grants, asked.processes, asked.connections))))


if __name__ == "__main__":
    main()
