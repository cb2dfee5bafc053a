"""What the platform itself costs: ``python -m tests.bench.overhead``.

Idle memory of every process (proportional set size, so shared pages count once); the parts of the time from
submitting a job to its first training step; and the wall time of a training under the platform over the same
training by the child process alone.
"""

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

import psutil

from deploy.up import Running, platform_up
from libs.embedded.home import Home
from services.cli.access import Access
from services.cli.client import Api
from tests.bench.training import SAMPLE, conversations, ours

STEPS = 6


def idle_memory(running: Running) -> dict[str, float]:
    """Return the megabytes of each program with its children."""
    found = {}
    for name, process in running.supervisor.running.items():
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        found[name] = sum(each.memory_full_info().pss for each in family) / 1e6
    return found


async def train(api: Api, dataset: str) -> dict[str, Any]:
    """Train a few steps through the API; return the job's story with times."""
    wish = {"training_file": dataset, "model": "SmolLM2-135M-Instruct", "preset": "balanced"}
    wish |= {"hyperparameters": {"n_epochs": 1, "batch_size": 16}, "seed": 42}
    job = await api.post("/v1/fine_tuning/jobs", wish)
    while job["status"] not in ("succeeded", "failed", "cancelled"):
        await asyncio.sleep(0.5)
        job = await api.get(f"/v1/fine_tuning/jobs/{job['id']}")
    story = await api.get(f"/v1/fine_tuning/jobs/{job['id']}/events", limit=100)
    return job | {"story": story["data"]}


async def bench(rounds: int) -> None:
    """Print the three figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        split = conversations(folder / "train.parquet")
        alone = [ours(split, folder / f"alone-{number}", STEPS)["seconds"] for number in range(rounds)]
        print(
            f"child alone, {STEPS + 1} steps: {statistics.median(alone):.1f} s of {[round(each, 1) for each in alone]}"
        )
        async with platform_up(Home(folder / "home"), 0) as running:
            await asyncio.sleep(10)
            memory = idle_memory(running)
            print(
                "idle memory, MB:",
                {name: round(size) for name, size in memory.items()},
                "in all",
                round(sum(memory.values())),
            )
            async with Api(Access(running.url, running.key)) as api:
                uploaded = await api.upload(SAMPLE, lambda _: None)
                job = await train(api, uploaded["id"])
                for each in reversed(job["story"]):
                    print(each["created_at"], each["message"])


def main() -> None:
    """Run with ``--rounds`` trainings alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(bench(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
