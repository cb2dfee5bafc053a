"""From submitting to the first step on an idle platform: ``python -m tests.bench.start [--jobs 5]``.

One platform, the shipped model, jobs of a few conversations (the first exchange of each sample, so that steps are
short) one after another, in turn with a training process that waits, all imported, and without one (it is killed before
the submission). One job of either kind is thrown away before. Each job is cancelled after its first step. The job's
facts give the parts; two figures count: when the first step begins to compute (the stage "training") and when it ends
(the first progress). What the waiting process takes is read as proportional set size, beside the idle platform without
it.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import psutil

from deploy.up import Running, platform_up
from libs.embedded.home import Home
from libs.testing.family import trainings, waiting
from services.cli.access import Access
from services.cli.client import Api
from tests.bench import figures
from tests.bench.overhead import CONVERSATIONS, FAILED, first_exchanges, idle_memory, parts

BEGUN, ENDED = "run.stage_reached.v1 training", "run.progressed.v1"
SETTLE = 3.0
"""Seconds of rest before a submission, so that nothing of the job before is still being done."""


async def first_step(api: Api, file: Path) -> dict[str, float]:
    """Submit a job, cancel it after its first step and return the seconds from its submission to each of its facts."""
    uploaded = await api.upload(file, lambda _: None)
    wish = {"training_file": uploaded["id"], "model": "SmolLM2-135M-Instruct", "preset": "balanced", "seed": 42}
    wish |= {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}
    job = await api.post("/v1/fine_tuning/jobs", wish)
    heard: list[tuple[str, dict[str, Any]]] = []
    cancelled = False
    async for event in api.live(f"/v1/fine_tuning/jobs/{job['id']}/stream", print):
        heard.append((event.type, json.loads(event.data)))
        if event.type in FAILED:
            break
        if event.type == ENDED and not cancelled:
            cancelled = True
            await api.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel", {})
    if not cancelled:
        raise SystemExit(f"the job ended before its first step: {heard[-1]}")
    return dict(parts(heard))


async def idle(running: Running, *, warm: bool) -> None:
    """Wait until nothing trains and a process waits; kill that one where there shall be none."""
    runner = running.supervisor.running["runner"].pid
    while trainings(runner) or not waiting(runner):
        await asyncio.sleep(0.2)
    if not warm:
        for each in waiting(runner):
            each.kill()
    await asyncio.sleep(SETTLE)


async def bench(jobs: int) -> None:
    """Print what every part took, warm and cold."""
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        async with (
            platform_up(Home(folder / "home"), 0) as running,
            Api(Access(running.url, running.key)) as api,
        ):
            print(f"{CONVERSATIONS} conversations, 4 a step, {psutil.cpu_count()} cores")
            for number in range(jobs + 1):
                for warm in (True, False):
                    await idle(running, warm=warm)
                    if warm and not number:
                        _say_memory(running)
                    way = await first_step(api, first_exchanges(folder))
                    kept = "thrown away" if not number else f"{number}"
                    print(f"{'warm' if warm else 'cold'} {kept}: {_figures(way)}", flush=True)
                    if number:
                        found[warm].append(way)
    for warm, ways in found.items():
        print(f"\n{'warm' if warm else 'cold'}, median of {len(ways)} (least, most), seconds after the submission")
        for part in ways[0]:
            taken = [way[part] for way in ways if part in way]
            print(f"  {statistics.median(taken):7.3f} ({min(taken):.3f}, {max(taken):.3f})  {part}")
    begun = {warm: [way[BEGUN] for way in ways] for warm, ways in found.items()}
    figures.note("start", "submitted → first step begun, warm", begun[True], "s", goal=4.0, less_is_better=True)
    figures.note("start", "submitted → first step begun, cold", begun[False], "s", less_is_better=True)


def _figures(way: dict[str, float]) -> str:
    return f"first step begun {way[BEGUN]:.2f} s, ended {way[ENDED]:.2f} s"


def _say_memory(running: Running) -> None:
    memory = idle_memory(running)
    waits = memory.pop("waiting", 0.0)
    print(f"idle platform {sum(memory.values()):.0f} MB, the process that waits {waits:.0f} MB beside it")
    figures.note("start", "idle platform's memory", [sum(memory.values())], "MB", goal=600.0, less_is_better=True)
    figures.note("start", "memory of the process that waits", [waits], "MB", less_is_better=True)


def main() -> None:
    """Run with ``--jobs``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=5)
    asyncio.run(bench(parser.parse_args().jobs))


if __name__ == "__main__":
    main()
