"""What the platform itself costs: ``python -m tests.bench.overhead [--rounds 3]``.

A job under a freshly started platform, and the very same attempt (spec, data, threads) by the child process alone with
nothing else running; which goes first changes from round to round, and one round is thrown away before, so that no
side always finds the files in memory. Compared is the wall time of training; beside it stands the processor time that
the platform's own processes took meanwhile, which the machine's moods touch less. The job's facts give the parts of the
time from submitting to the first step. Before each job the idle platform's memory is read, as proportional set size, so
that shared pages count once.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil

from deploy.up import Running, platform_up
from libs.embedded.home import Home
from libs.testing.family import AHEAD, descendants
from services.cli.access import Access
from services.cli.client import Api
from services.trainer.training.protocol import AttemptSpec, Finished, read_line, read_spec
from tests.bench.training import ROOT, SAMPLE

CONVERSATIONS = 48
FAILED = ("job.failed.v1", "job.cancelled.v1")


def idle_memory(running: Running) -> dict[str, float]:
    """Return the megabytes of each program with its children; apart, of a training process that waits for a job."""
    found = {}
    waits = {each.pid for each in descendants(AHEAD)}
    for name, process in running.supervisor.running.items():
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        found[name] = _megabytes(each for each in family if each.pid not in waits)
    return found | {"waiting": _megabytes(psutil.Process(pid) for pid in waits)}


def _megabytes(processes: Iterable[psutil.Process]) -> float:
    return sum(each.memory_full_info().pss for each in processes) / 1e6


def own_seconds(running: Running) -> float:
    """Return the processor seconds that the platform's programs took until now, their trainings not counted."""
    return sum(sum(_taken(process.pid)) for process in running.supervisor.running.values())


def _taken(pid: int) -> tuple[float, ...]:
    program = psutil.Process(pid)
    server = [each for each in program.children(recursive=True) if each.name() == "postgres"]
    return tuple(sum(each.cpu_times()[:2]) for each in (program, *server))


def sample(folder: Path) -> Path:
    """Write the first sample conversations to a file of their own."""
    path = folder / "some.jsonl"
    path.write_text("".join(line + "\n" for line in SAMPLE.read_text().splitlines()[:CONVERSATIONS]))
    return path


async def told(api: Api, file: Path, until: str) -> list[tuple[str, dict[str, Any]]]:
    """Submit a job and return its facts and measurements up to the first of the type ``until``."""
    uploaded = await api.upload(file, lambda _: None)
    wish = {"training_file": uploaded["id"], "model": "SmolLM2-135M-Instruct", "preset": "balanced", "seed": 42}
    wish |= {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}
    job = await api.post("/v1/fine_tuning/jobs", wish)
    heard = []
    async for event in api.live(f"/v1/fine_tuning/jobs/{job['id']}/stream", print):
        heard.append((event.type, json.loads(event.data)))
        if event.type == until:
            break
        if event.type in FAILED:
            raise SystemExit(f"the job did not finish: {heard[-1]}")
    return heard


async def keep_attempt(home: Home, folder: Path) -> AttemptSpec:
    """Copy what the running attempt was given, so that it can be repeated alone."""
    runs = home.folder / "work" / "runner" / "runs"
    while not (found := [*runs.glob("**/spec.json")]):
        await asyncio.sleep(0.2)
    spec = read_spec(found[0].read_bytes())
    folder.mkdir()
    for path in (spec.train, str(spec.validation)):
        shutil.copy(path, folder)
    return msgspec.structs.replace(
        spec,
        train=str(folder / Path(spec.train).name),
        validation=str(folder / Path(str(spec.validation)).name),
        shelf=None,
    )


def alone(spec: AttemptSpec) -> float:
    """Carry an attempt out by the child process alone; return its seconds."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "spec.json"
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(spec, work_dir=work)))
        command = [sys.executable, "-m", "services.trainer.training", str(path)]
        done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    [finished] = [line for line in map(read_line, done.stdout.splitlines()) if isinstance(line, Finished)]
    return finished.seconds


def parts(heard: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, float]]:
    """Return each fact up to the first measured step with its seconds after the submission."""
    found: list[tuple[str, float]] = []
    began = next(datetime.fromisoformat(fact["at"]) for kind, fact in heard if kind == "job.submitted.v1")
    for kind, fact in heard:
        found.append((f"{kind} {fact.get('stage', '')}".strip(), _since(began, fact)))
        if kind == "run.progressed.v1":
            break
    return found


def _since(began: datetime, fact: dict[str, Any]) -> float:
    return (datetime.fromisoformat(fact["at"]) - began).total_seconds()


class Job(msgspec.Struct, frozen=True):
    """A job under the platform: its training seconds, the platform's own processor seconds, its way to a first step."""

    seconds: float
    own: float
    way: list[tuple[str, float]]


async def under_platform(spec_into: Path | None = None) -> tuple[Job, AttemptSpec | None]:
    """Run a job on a fresh platform; keep its attempt in the folder ``spec_into``."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        async with platform_up(Home(folder / "home"), 0) as running:
            await asyncio.sleep(10)
            memory = idle_memory(running)
            print("idle memory, MB:", {name: round(size) for name, size in memory.items()}, end=" ")
            print("in all", round(sum(memory.values()) - memory["waiting"]), "and what waits")
            began = own_seconds(running)
            async with Api(Access(running.url, running.key)) as api:
                keeping = asyncio.create_task(keep_attempt(running.home, spec_into)) if spec_into else None
                heard = await told(api, sample(folder), until="run.finished.v1")
                own = own_seconds(running) - began
                spec = await keeping if keeping else None
    return Job(heard[-1][1]["train_seconds"], own, parts(heard)), spec


async def bench(rounds: int) -> None:
    """Print the figures of every round, then the medians."""
    under: list[Job] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as kept:
        thrown_away, spec = await under_platform(Path(kept) / "attempt")
        assert spec is not None
        print(f"thrown away: platform {thrown_away.seconds:.1f} s, alone {alone(spec):.1f} s", flush=True)
        for number in range(rounds):
            if number % 2:
                bare.append(alone(spec))
            under.append((await under_platform())[0])
            if not number % 2:
                bare.append(alone(spec))
            job = under[-1]
            print(f"round {number + 1}: platform {job.seconds:.1f} s, alone {bare[-1]:.1f} s, own {job.own:.2f} s")
            for what, after in job.way:
                print(f"  {after:7.3f} s  {what}", flush=True)
    ratios = [one.seconds / other for one, other in zip(under, bare, strict=True)]
    print(f"training: platform {statistics.median(job.seconds for job in under):.1f} s, ", end="")
    print(f"alone {statistics.median(bare):.1f} s")
    print(f"overhead: median {statistics.median(ratios) - 1:+.1%} of {[f'{each - 1:+.1%}' for each in ratios]}")
    print(f"the platform's own processes: median {statistics.median(job.own for job in under):.2f} s of processor time")


def main() -> None:
    """Run with ``--rounds``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(bench(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
