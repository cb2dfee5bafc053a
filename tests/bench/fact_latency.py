"""How long a fact takes from its commit to the handler of another service, in another process.

    python -m tests.bench.fact_latency [--rate 100] [--seconds 20] [--rounds 3]

Own NATS (``sync_interval: always``) and PostgreSQL (fsync on), as an installation has them. One process commits
``rate`` transactions a second, each telling one fact; the other notes when its handler is entered, after
the inbox was claimed. Both read CLOCK_MONOTONIC. Prints one JSON line for each round and one for their medians.
"""

import argparse
import asyncio
import json
import os
import platform as machine
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from contracts.jobs import JobCancelled
from deploy.provision import provision
from libs.bus import Router
from libs.db import Transaction
from libs.embedded import nats
from libs.embedded.home import free_port, listening
from libs.embedded.postgres import Cluster, as_unprivileged
from libs.embedded.supervisor import Program, Supervisor
from libs.service import App, Platform, connect, running
from libs.settings import ServiceSettings
from libs.testing.servers import PASSWORDS

WARM_UP = 50


@asynccontextmanager
async def installation(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Both servers, provisioned; yields where they listen."""
    cluster = Cluster(folder / "postgres", free_port(), PASSWORDS["postgres"])
    cluster.initialise()
    port = free_port()
    supervisor = Supervisor(folder / "logs")
    options = {"cwd": "/", **as_unprivileged()}

    async def database() -> bool:
        return listening(cluster.port)

    async def broker() -> bool:
        return listening(port)

    await supervisor.start(Program(name="postgres", command=cluster.command(), ready=database, options=options))
    await supervisor.start(Program(name="nats", command=nats.configure(folder / "nats", port, PASSWORDS), ready=broker))
    try:
        await provision(cluster.url, f"nats://127.0.0.1:{port}", PASSWORDS)
        yield {"nats": f"nats://127.0.0.1:{port}", "port": str(cluster.port), "storage": f"file://{folder / 'storage'}"}
    finally:
        await supervisor.stop()


async def platform_of(service: str, where: dict[str, str]) -> Platform:
    class Settings(ServiceSettings, frozen=True, kw_only=True):
        service: ClassVar[str]

    Settings.service = service
    url = f"postgresql://woodshed_{service}:{PASSWORDS[service]}@127.0.0.1:{where['port']}/woodshed"
    settings = Settings(
        nats_url=where["nats"], nats_password=PASSWORDS[service], database_url=url, storage_url=where["storage"]
    )
    return await connect(settings, service)


async def hear(where: dict[str, str]) -> None:
    """The other process: prints ``name time`` for each fact, until its input ends."""
    router = Router("notifier")

    @router.on(JobCancelled)
    async def note(fact: JobCancelled, tx: Transaction) -> None:
        print(fact.job_id, time.monotonic(), flush=True)

    platform = await platform_of("notifier", where)
    async with asyncio.TaskGroup() as tasks, running(App(router), platform, tasks):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    await platform.db.close()


async def measure(where: dict[str, str], rate: int, seconds: int, name: str) -> list[float]:
    """Return milliseconds from commit to handler for each fact after the warm-up."""
    heard = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.fact_latency", "--hear", json.dumps(where),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert heard.stdout
    assert heard.stdin
    await heard.stdout.readline()
    platform = await platform_of("scheduler", where)
    total = rate * seconds + WARM_UP
    committed: dict[str, float] = {}
    async with asyncio.TaskGroup() as tasks, running(App(Router("scheduler")), platform, tasks):
        arrivals = tasks.create_task(_arrivals(heard.stdout, total))
        await _commit(platform, committed, total, rate, name)
        arrived = await arrivals
    await platform.db.close()
    heard.stdin.close()
    await heard.wait()
    return [1000 * (arrived[key] - committed[key]) for key in list(committed)[WARM_UP:]]


async def _commit(platform: Platform, committed: dict[str, float], total: int, rate: int, name: str) -> None:
    began = time.monotonic()
    for number in range(total):
        await asyncio.sleep(began + number / rate - time.monotonic())
        key = f"{name}-{number}"
        async with platform.db.transaction("acme") as tx:
            await tx.tell(JobCancelled(tenant="acme", at=datetime.now(UTC), job_id=key))
        committed[key] = time.monotonic()


async def _arrivals(lines: asyncio.StreamReader, total: int) -> dict[str, float]:
    found: dict[str, float] = {}
    while len(found) < total:
        name, at = (await lines.readline()).decode().split()
        found[name] = float(at)
    return found


def figures(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "facts": len(ordered),
        "p50_ms": round(statistics.median(ordered), 2),
        "p99_ms": round(ordered[int(0.99 * len(ordered))], 2),
        "max_ms": round(ordered[-1], 2),
    }


async def bench(rate: int, seconds: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="woodshed-bench-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        async with installation(Path(folder)) as where:
            found = [figures(await measure(where, rate, seconds, f"ftjob-{number}")) for number in range(rounds)]
    for each in found:
        print(json.dumps(each))
    middle = {key: statistics.median(each[key] for each in found) for key in ("p50_ms", "p99_ms", "max_ms")}
    load = round(os.getloadavg()[0], 1)
    print(
        json.dumps(
            {
                "median of rounds": middle,
                "rate": rate,
                "cpus": os.cpu_count(),
                "load": load,
                "python": machine.python_version(),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hear")
    asked = parser.parse_args()
    asyncio.run(hear(json.loads(asked.hear)) if asked.hear else bench(asked.rate, asked.seconds, asked.rounds))


if __name__ == "__main__":
    main()
