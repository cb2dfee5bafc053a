"""Woodshed's main job from beginning to end, in this terminal: ``make demo``.

Sample conversations of a financial planner go in; a fine-tuned model comes out, with a measured report of
what changed. Everything is real: the servers, the services, the HTTP API, the training. It uses a folder of
its own, ``.woodshed/demo``, and stops what it started, however it ends. ``KEEP=1`` leaves it running.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx
import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.provision import ROOT
from deploy.up import PORT, Running, platform_up, until_told
from libs.embedded.home import Home
from libs.settings import HOME
from services.cli import datasets, files, jobs, results, show, watching
from services.cli.access import Access
from services.cli.client import Api, Json
from services.cli.errors import CliError, EndedBadly
from services.cli.session import Session

SAMPLE = ROOT / "libs" / "samples" / "conversations.jsonl"
NAME = "clara"
PRESET = "quick"
TRAINING_SECONDS = 180.0
"""Shorter than the preset's half hour: long enough for a change that can be proven, short enough to wait for."""

BATCH = 1
"""Conversations to an optimiser step: in so short a time many small steps move the model further than a few large."""

CHECKPOINTS = 2
NOTICE_PATIENCE = 60.0
REPLIES = 3


async def demo(home: Home, keep: bool, console: Console) -> int:
    """Run the main job; 0 when all of it worked."""
    began = time.monotonic()
    console.rule("1 · Starting NATS, PostgreSQL and the services on this machine")
    async with platform_up(home, PORT if keep else 0, say=lambda text: console.print(f"  {text} …")) as running:
        async with Api(Access(running.url, running.key)) as api:
            await _main_job(Session(api, console), running)
        console.print(f"\nAll of it took {show.duration(time.monotonic() - began)}.")
        if keep:
            _tell_how_to_go_on(console, running)
            await asyncio.Event().wait()
    console.print("Everything is stopped; the files stay. `make up` starts Woodshed for work.")
    return 0


async def _main_job(here: Session, running: Running) -> None:
    await _cancel_earlier(here)
    here.console.rule("2 · Importing and checking the sample conversations")
    uploaded = await files.send(here, SAMPLE)
    dataset = await datasets.build(here, uploaded["id"])
    here.console.print(show.dataset(dataset))
    datasets.require_ready(dataset)
    here.console.rule("3 · Three examples as the model reads them")
    here.console.print(show.preview(await datasets.previewed(here, dataset["id"], 3)))
    here.console.rule(f"4 · Training “{NAME}” with the preset {PRESET}, for {TRAINING_SECONDS:.0f} seconds")
    job = await _train(here, dataset)
    here.console.rule("5 · What came of it")
    await _results(here, running, job)


async def _cancel_earlier(here: Session) -> None:
    """End what demonstrations that were broken off left in the queue: accepted jobs outlive a Ctrl-C."""
    found = (await here.api.get("/v1/fine_tuning/jobs", limit=100))["data"]
    for job in found:
        if job["woodshed"]["suffix"] == NAME and job["status"] not in ("succeeded", "failed", "cancelled"):
            await here.api.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")
            here.console.print(f"  Cancelled {job['id']}, which an earlier demonstration left")


async def _train(here: Session, dataset: Json) -> Json:
    changed: Json = {"time_limit": TRAINING_SECONDS, "hyperparameters": {"batch_size": BATCH}}
    await jobs.tell_estimate(here, dataset["id"], PRESET, changed)
    submitted = await jobs.submit(here, dataset, PRESET, NAME, changed)
    here.console.print(f"\nJob {submitted['id']} is accepted.")
    job = await watching.watch(here.api, submitted["id"], here.console)
    watching.require_success(job)
    await _require_notice(here, job)
    await _require_checkpoints(here, job)
    return job


async def _require_notice(here: Session, job: Json) -> None:
    """Wait for the notice that follows the report; the story has the latest line first."""
    deadline = time.monotonic() + NOTICE_PATIENCE
    while time.monotonic() < deadline:
        story = (await here.api.get(f"/v1/fine_tuning/jobs/{job['id']}/events", limit=watching.STORY_LENGTH))["data"]
        lines = [each["message"] for each in story]
        after = lines[: next(number for number, line in enumerate(lines) if line.startswith("Report ready"))]
        if any(line.startswith("Notice sent") for line in after):
            here.console.print("\nThe notice of the report was sent; the console's stands in the log of the notifier.")
            return
        await asyncio.sleep(0.5)
    raise EndedBadly("No notice of the report was sent. See the log of the notifier.")


async def _require_checkpoints(here: Session, job: Json) -> None:
    found = (await here.api.get(f"/v1/fine_tuning/jobs/{job['id']}/checkpoints", limit=1000))["data"]
    steps = ", ".join(str(each["step_number"]) for each in reversed(found))
    if len(found) < CHECKPOINTS:
        raise EndedBadly(f"{len(found)} checkpoints were committed (at step {steps}); {CHECKPOINTS} are due.")
    here.console.print(
        f"{len(found)} checkpoints were committed, at steps {steps}: a kill would have cost the rest alone."
    )


async def _results(here: Session, running: Running, job: Json) -> None:
    folder = running.home.folder / "results" / job["id"]
    report = await here.api.get(f"/v1/fine_tuning/jobs/{job['id']}/report")
    written = await results.fetch_report(here, job["id"], folder)
    written += await results.fetch_artifacts(here, job["id"], folder / "adapter")
    here.console.print(Text(show.clean(report["headline"]), style="bold"), "", _before_and_after(report), "")
    here.console.print(_replies(report))
    _tell_files(here.console, running, written)


def _before_and_after(report: Json) -> Table:
    """Show each suite's figure of both models, the change with its 95 % interval, and the verdict."""
    rows = show.table("", "base model", NAME, "change (95 % interval)", "verdict", right=["base model", NAME])
    for score in report["scores"]:
        change, share = score["change"], score["suite"] == "retention"
        interval = f"{change['value']:+.1%} ({change['low']:+.1%} to {change['high']:+.1%})"
        figures = [f"{score[model]:.0%}" if share else f"{score[model]:.2f}" for model in ("base", "tuned")]
        rows.add_row(show.clean(score["suite"]), *figures, interval, show.clean(score["verdict"]).replace("_", " "))
    return rows


def _replies(report: Json) -> Table:
    """Show what both models answer to prompts neither was trained on."""
    rows = Table(show_lines=True, title="Replies to people it never met", title_justify="left")
    for name in ("they wrote", "base model", NAME):
        rows.add_column(name, ratio=1, style="green" if name == NAME else "", overflow="fold")
    for pair in report["pairs"][:REPLIES]:
        cells = (pair["prompt"][-1]["content"], pair["base"], pair["tuned"])
        rows.add_row(*(Text(show.clean(each)) for each in cells))
    return rows


def _tell_files(console: Console, running: Running, written: list[Path]) -> None:
    rows = show.table("file", "size", right=["size"])
    for path in written:
        rows.add_row(str(_near(path)), show.size(path.stat().st_size))
    console.print("\nWhere everything lies:", rows)
    console.print(
        f"  storage   {_near(running.home.folder / 'storage')}   (uploads, datasets, checkpoints, adapters, reports)"
    )
    console.print(f"  logs      {_near(running.home.folder / 'logs')}")


def _near(path: Path) -> Path:
    """Return a path as seen from here, where that is shorter."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _tell_how_to_go_on(console: Console, running: Running) -> None:
    console.print(f"\nIt keeps running at {running.url} (API: {running.url}/docs) until Ctrl-C. In another terminal:")
    console.print(f"  WOODSHED_HOME={running.home.folder} .venv/bin/woodshed jobs list", soft_wrap=True)


def main() -> None:
    """Run it, and where it fails say which log to read."""
    structlog.configure(processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False)])
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    home = Home(Path(os.environ.get("WOODSHED_HOME", HOME / "demo")).resolve())
    logs = home.folder / "logs"
    try:
        sys.exit(until_told(demo(home, os.environ.get("KEEP", "") not in ("", "0"), console)))
    except CliError as error:
        console.print(show.error(error))
    except (httpx.HTTPError, OSError, KeyError) as error:
        console.print(Text(f"The demonstration broke off: {error!r}", style="red"))
    console.print(f"Read the logs in {logs}; runner.log and evaluator.log first.", soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
