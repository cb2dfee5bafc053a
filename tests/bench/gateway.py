"""The gateway under load: ``python -m tests.bench.gateway [--seconds 20] [--rounds 3]``.

The whole platform runs on the same cores as the load, which is part of what is measured. Three questions:

- Requests: 200 authenticated ones a second, by turns of five kinds, each counted from the moment it was due (so that a
  late one delays no other and hides nothing); on a platform at rest, then while a job trains.
- Streams: 1,000 open streams over 100 jobs, each measured once a second; from telling to reading, with the gateway's
  memory before, between and after.
- Curves: a run of 1,000,000 measured steps, asked for one after the other.

Prints one JSON line for each round.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import nats
import psutil

from contracts.base import encode, subject_of
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import RunProgressed
from deploy.provision import DATABASE
from deploy.secrets import TENANT
from deploy.up import Running, platform_up
from libs.embedded.home import Home
from libs.embedded.postgres import Cluster
from services.cli.access import Access
from services.cli.client import Api
from tests.bench.training import SAMPLE

RATE = 200
JOBS, STREAMS_EACH = 100, 10
STEPS = 1_000_000
CURVES = 100
ROWS = """
    INSERT INTO gateway.metric (job_id, tenant, step, attempt, at, epoch, train_loss, learning_rate, grad_norm, tokens,
                                tokens_per_second, memory_bytes, train_mean_token_accuracy)
    SELECT $1, $2, step, 1, now(), step / 1e5, 2 + random(), 2e-4, random(), step * 200, 300, 2000000000, 0.5
      FROM generate_series(1, $3::bigint) AS step
"""


@asynccontextmanager
async def platform(**chosen: Any) -> AsyncIterator[Running]:
    """Have a fresh platform."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        async with platform_up(Home(Path(temporary) / "home"), 0, **chosen) as running:
            yield running


def port(home: Home, name: str) -> int:
    """Return where a server of a running platform listens."""
    return int(json.loads((home.folder / "ports.json").read_text())[name])


async def submit(api: Api, file: str, name: str = "load") -> str:
    """Submit a job that would train for a long while."""
    wish = {"training_file": file, "model": SHIPPED_MODEL, "suffix": name, "hyperparameters": {"n_epochs": 20}}
    return str((await api.post("/v1/fine_tuning/jobs", wish))["id"])


def summary(seconds: list[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the most, in milliseconds."""
    ordered = sorted(1000 * each for each in seconds)
    last = len(ordered) - 1
    return {
        "p50_ms": round(statistics.median(ordered), 1),
        "p99_ms": round(ordered[min(last, int(0.99 * len(ordered)))], 1),
        "most_ms": round(ordered[last], 1),
    }


def memory(running: Running) -> float:
    """Return the gateway's megabytes, as proportional set size."""
    return round(psutil.Process(running.supervisor.running["gateway"].pid).memory_full_info().pss / 1e6, 1)


def busy(running: Running, name: str) -> float:
    """Return the processor seconds that a program and its children took until now."""
    program = psutil.Process(running.supervisor.running[name].pid)
    return sum(sum(each.cpu_times()[:2]) for each in (program, *program.children(recursive=True)))


async def requests(running: Running, paths: list[str], seconds: int) -> dict[str, Any]:
    """Send requests at their times whether or not earlier ones were answered."""
    before = {name: busy(running, name) for name in ("gateway", "postgres")}
    took: list[float] = []
    wrong: list[int | str] = []
    headers = {"Authorization": f"Bearer {running.key}"}
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30, limits=limits) as http:

        async def one(path: str, due: float) -> None:
            try:
                answer = await http.get(path)
            except httpx.HTTPError as error:
                wrong.append(type(error).__name__)
                return
            took.append(time.monotonic() - due)
            if answer.status_code != 200:
                wrong.append(answer.status_code)

        await asyncio.gather(*(http.get(path) for path in paths * 4))
        began = time.monotonic() + 0.1
        async with asyncio.TaskGroup() as asked:
            for number in range(RATE * seconds):
                due = began + number / RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                asked.create_task(one(paths[number % len(paths)], due))
    cost = {f"{name}_cpu_ms": round(1000 * (busy(running, name) - was) / len(took), 2) for name, was in before.items()}
    return {"sent": RATE * seconds, "errors": len(wrong), **summary(took), **cost}


async def under_requests(seconds: int, rounds: int) -> None:
    """Ask a platform at rest, and one that trains."""
    async with platform() as running, Api(Access(running.url, running.key)) as api:
        file = (await api.upload(SAMPLE, lambda _: None))["id"]
        jobs = "/v1/fine_tuning/jobs"
        resting = [jobs, "/v1/files", f"/v1/files/{file}", "/v1/models", f"{jobs}?limit=1"]
        for _ in range(rounds):
            _tell("requests", state="at rest", **await requests(running, resting, seconds))
        job = f"{jobs}/{await submit(api, file)}"
        while not (await api.get(job))["woodshed"]["progress"]:
            await asyncio.sleep(0.5)
        working = [job, f"{job}/events", f"{job}/curve", "/v1/files", jobs]
        for _ in range(rounds):
            _tell("requests", state="a job trains", **await requests(running, working, seconds))


async def listen(url: str, key: str, job: str, opened: asyncio.Semaphore, took: list[float]) -> None:
    """Keep one stream of a job open, and note how old each measurement is when it is read."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    writer.write(
        f"GET /v1/fine_tuning/jobs/{job}/stream HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Authorization: Bearer {key}\r\nAccept: text/event-stream\r\n\r\n".encode()
    )
    status = (await reader.readline()).decode().strip()
    opened.release()
    if " 200 " not in status:
        raise SystemExit(f"a stream was not opened: {status}")
    async for line in reader:
        if line.startswith(b"data:") and b'"tokens_per_second"' in line:
            told = datetime.fromisoformat(json.loads(line[5:])["at"])
            took.append((datetime.now(UTC) - told).total_seconds())


async def measure(running: Running, jobs: list[str], seconds: int) -> None:
    """Tell a step of every job each second, spread over it."""
    home = running.home
    client = await nats.connect(
        f"nats://127.0.0.1:{port(home, 'nats')}", user="trainer", password=home.secrets()["trainer"]
    )
    began = time.monotonic()
    for number in range(seconds * len(jobs)):
        await asyncio.sleep(max(0.0, began + number / len(jobs) - time.monotonic()))
        fact = progressed(jobs[number % len(jobs)], 1 + number // len(jobs))
        await client.publish(subject_of(fact), encode(fact))
    await client.drain()


def progressed(job: str, step: int) -> RunProgressed:
    """Return what a trainer tells of a step."""
    return RunProgressed(
        tenant=TENANT, at=datetime.now(UTC), run_id=f"run-{job}", job_id=job, attempt=1, step=step, total_steps=STEPS,
        epoch=step / 1e5, loss=2.0, learning_rate=2e-4, grad_norm=1.0, tokens=step * 200, tokens_per_second=300.0,
        samples_per_second=2.0, eta_seconds=60.0, memory_bytes=2**31, token_accuracy=0.5,
    )  # fmt: skip


async def under_streams(seconds: int) -> None:
    """Keep a thousand pages open."""
    async with platform(without={"runner"}) as running, Api(Access(running.url, running.key)) as api:
        file = (await api.upload(SAMPLE, lambda _: None))["id"]
        jobs = [await submit(api, file, f"load{number}") for number in range(JOBS)]
        took: list[float] = []
        opened, before = asyncio.Semaphore(0), memory(running)
        pages = [
            asyncio.create_task(listen(running.url, running.key, job, opened, took))
            for job in jobs
            for _ in range(STREAMS_EACH)
        ]
        for _ in pages:
            await opened.acquire()
        between = memory(running)
        await measure(running, jobs, seconds)
        await asyncio.sleep(2)
        lost = seconds * len(pages) - len(took)
        _tell(
            "streams", open=len(pages), jobs=JOBS, read=len(took), lost=lost, **summary(took),
            memory_mb={"before": before, "open": between, "after": memory(running)},
        )  # fmt: skip
        for page in pages:
            page.cancel()


async def under_curves(rounds: int) -> None:
    """Draw a run of a million steps."""
    async with platform(without={"runner"}) as running, Api(Access(running.url, running.key)) as api:
        file = (await api.upload(SAMPLE, lambda _: None))["id"]
        job = await submit(api, file)
        secret = running.home.secrets()["postgres"]
        database = await asyncpg.connect(Cluster(Path(), port(running.home, "postgres"), secret).url, database=DATABASE)
        await database.execute(ROWS, job, TENANT, STEPS, timeout=300)
        await database.execute("ANALYZE gateway.metric")
        await database.close()
        await measure_once(running, job)
        for _ in range(rounds):
            took, size = [], 0
            headers = {"Authorization": f"Bearer {running.key}"}
            async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=60) as http:
                for _ in range(CURVES):
                    began = time.monotonic()
                    answer = await http.get(f"/v1/fine_tuning/jobs/{job}/curve")
                    took.append(time.monotonic() - began)
                    size = len(answer.content)
            points = len(answer.json()["points"])
            _tell("curves", steps=STEPS, points=points, kilobytes=round(size / 1e3), **summary(took))


async def measure_once(running: Running, job: str) -> None:
    """Tell one more step, and wait until the curve has it: by then the million before it are summed up."""
    home = running.home
    client = await nats.connect(
        f"nats://127.0.0.1:{port(home, 'nats')}", user="trainer", password=home.secrets()["trainer"]
    )
    fact = progressed(job, STEPS + 1)
    await client.publish(subject_of(fact), encode(fact))
    await client.drain()
    async with Api(Access(running.url, running.key)) as api:
        began = time.monotonic()
        while (await api.get(f"/v1/fine_tuning/jobs/{job}/curve"))["points"][-1]["step"] <= STEPS:
            await asyncio.sleep(0.2)
        _tell("curves", summed_up_in_seconds=round(time.monotonic() - began, 1))


def _tell(question: str, **figures: Any) -> None:
    print(json.dumps({"question": question, **figures}), flush=True)


async def answer(questions: list[str], seconds: int, rounds: int) -> None:
    """Answer the questions that are asked."""
    if "requests" in questions:
        await under_requests(seconds, rounds)
    if "streams" in questions:
        await under_streams(seconds)
    if "curves" in questions:
        await under_curves(rounds)


def main() -> None:
    """Measure what is asked for; without a word, all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["requests", "streams", "curves"])
    chosen = parser.parse_args()
    asyncio.run(answer(chosen.only, chosen.seconds, chosen.rounds))


if __name__ == "__main__":
    main()
