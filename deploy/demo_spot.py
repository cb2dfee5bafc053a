"""Nothing is lost on machines that are taken away, in this terminal: ``make demo-spot``.

The same small job is trained twice: on a machine of a simulated spot market that nobody wants back, and on that market
when it takes its machines away three times. Both adapters are then compared byte for byte and both loss curves drawn
into one picture. Everything is real but the market's customers: servers, services, API, training, checkpoints. It
uses a folder of its own, ``.woodshed/demo-spot``, leaves its cores to whatever else runs here, and stops what it
started.
"""

import asyncio
import csv
import os
import sys
import time
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import structlog
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from contracts.base import Event, type_of
from contracts.jobs import JobQueued, JobSucceeded
from contracts.runs import RunFinished, RunInterrupted, RunRecovered, RunStageReached
from deploy.provision import ROOT
from deploy.spot_picture import Curve, draw
from deploy.up import RUNNER_ENVIRONMENT, platform_up, until_told
from libs.bus.permissions import RUNNER
from libs.embedded.home import Home
from libs.lm.sharing import SHARED_CORES
from libs.settings import HOME
from services.cli import datasets, files, jobs, results, show, watching
from services.cli.access import Access
from services.cli.client import Api, Json
from services.cli.errors import CliError, EndedBadly
from services.cli.session import Session

E = TypeVar("E", bound=Event)

SAMPLE = ROOT / "libs" / "samples" / "conversations.jsonl"
CONVERSATIONS = 60
EPOCHS = 3
PREEMPTIONS = 3
NOTICE_SECONDS = 20
SEED = 7
PRICE = 0.02
SHARES = (0.08, 0.12)
"""Of an undisturbed training each machine may do so much before it is taken away: three fit into a faster one."""

POOL = """[spot]
provider = "spot"
environment = "{environment}"
price = {price}
patience_seconds = 0
look_seconds = 0.5
idle_seconds = 60
preemptions = {preemptions}
lifetime = [{low:.1f}, {high:.1f}]
notice_seconds = {notice}
seed = {seed}
"""


class Told(Struct, frozen=True, kw_only=True):
    """What was told of one job, and its loss at each step."""

    queued: JobQueued
    training: datetime
    finished: RunFinished
    interrupted: tuple[RunInterrupted, ...]
    recovered: tuple[RunRecovered, ...]
    curve: Curve

    @property
    def start_seconds(self) -> float:
        """From the queue to the first step: the machine's start and the model's."""
        return (self.training - self.queued.at).total_seconds()

    @property
    def seconds(self) -> float:
        """From the first step to the adapter."""
        return (self.finished.at - self.training).total_seconds()


async def demo(home: Home, console: Console) -> int:
    """Train twice and compare; 0 when both adapters are the same bytes and nothing was lost."""
    began = time.monotonic()
    console.rule("1 · Undisturbed: a machine of the market that nobody wants back")
    plain = await _trained(home, console, "undisturbed", _pool(home))
    console.rule(f"2 · The same job, and the market takes its machine away {PREEMPTIONS} times")
    low, high = (plain.start_seconds + share * plain.seconds for share in SHARES)
    console.print(
        f"  Each machine lives {low:.0f} to {high:.0f} s, start included; it is told {NOTICE_SECONDS} s before its end."
    )
    taken = await _trained(home, console, "preempted", _pool(home, PREEMPTIONS, low, high))
    console.rule("3 · What it cost")
    console.print(_compared(plain, taken), "")
    for path in draw(home.folder, plain.curve, taken.curve, [each.step for each in taken.interrupted]):
        console.print(f"  both curves  {_near(path)}", soft_wrap=True)
    same = plain.finished.sha256 == taken.finished.sha256
    lost = sum(each.lost_steps for each in taken.interrupted)
    console.print(f"\nAll of it took {show.duration(time.monotonic() - began)}.")
    if not same or lost or len(taken.interrupted) != PREEMPTIONS:
        raise EndedBadly("This is not what should happen; the table says what differs.")
    console.print("The same adapter, byte for byte: a machine that is taken away costs time and nothing else.")
    return 0


def _pool(home: Home, preemptions: int = 0, low: float = 0.0, high: float = 0.0) -> Path:
    path = home.folder / "pools.toml"
    path.write_text(
        POOL.format(
            environment=home.folder / RUNNER_ENVIRONMENT, price=PRICE, preemptions=preemptions, low=low, high=high,
            notice=NOTICE_SECONDS, seed=SEED,
        )
    )  # fmt: skip
    return path


async def _trained(home: Home, console: Console, name: str, pool: Path) -> Told:
    """Start the platform without a runner of its own, train one job on the market's machines, stop everything."""
    told = {"WOODSHED_TRAINER_POOLS": str(pool)} | SHARED_CORES
    up = platform_up(home, 0, lambda text: console.print(f"  {text} …"), without=(RUNNER, "evaluator"), told=told)
    async with up as running, Api(Access(running.url, running.key)) as api:
        here = Session(api, console)
        await _cancel_earlier(here)
        job = await _train(here, await _dataset(here, home), name)
        return await _gathered(here, home, job, name)


async def _cancel_earlier(here: Session) -> None:
    for job in (await here.api.get("/v1/fine_tuning/jobs", limit=100))["data"]:
        if job["status"] not in ("succeeded", "failed", "cancelled"):
            await here.api.post(f"/v1/fine_tuning/jobs/{job['id']}/cancel")


async def _dataset(here: Session, home: Home) -> Json:
    """Return the dataset both jobs train on: the first exchange of some sample conversations."""
    sample = home.folder / "first-exchanges.jsonl"
    if not sample.exists():
        sample.write_bytes(b"".join(_first_exchanges()))
    uploaded = await files.send(here, sample)
    dataset = await datasets.build(here, uploaded["id"])
    datasets.require_ready(dataset)
    return dataset


def _first_exchanges() -> list[bytes]:
    """Cut conversations behind their first reply: short ones make short steps."""
    cut = []
    for line in SAMPLE.read_bytes().splitlines()[:CONVERSATIONS]:
        messages = msgspec.json.decode(line)["messages"]
        replied = next(number for number, each in enumerate(messages) if each["role"] == "assistant")
        cut.append(msgspec.json.encode({"messages": messages[: replied + 1]}) + b"\n")
    return cut


async def _train(here: Session, dataset: Json, name: str) -> Json:
    changed: Json = {"hyperparameters": {"batch_size": 1, "n_epochs": EPOCHS}}
    submitted = await jobs.submit(here, dataset, "quick", name, changed)
    job = await watching.watch(here.api, submitted["id"], here.console, over=_is_trained)
    watching.require_success(job)
    return job


def _is_trained(job: Json) -> bool:
    return job["status"] in ("succeeded", "failed", "cancelled")


async def _gathered(here: Session, home: Home, job: Json, name: str) -> Told:
    """Read the job's facts again from its stream, and its curve from what lies beside the adapter."""
    facts = await _facts(here.api, job["id"])
    folder = home.folder / "results" / name
    await results.fetch_artifacts(here, job["id"], folder)
    [queued], [finished] = _of(JobQueued, facts)[:1], _of(RunFinished, facts)
    return Told(
        queued=queued,
        training=next(each.at for each in _of(RunStageReached, facts) if each.stage == "training"),
        finished=finished,
        interrupted=tuple(_of(RunInterrupted, facts)),
        recovered=tuple(_of(RunRecovered, facts)),
        curve=_curve(folder / "metrics.csv"),
    )


async def _facts(api: Api, job: str) -> dict[str, list[bytes]]:
    facts: dict[str, list[bytes]] = {}
    async with asyncio.timeout(30), aclosing(api.live(f"/v1/fine_tuning/jobs/{job}/stream", lambda _: None)) as stream:
        async for event in stream:
            if event.id:
                facts.setdefault(event.type, []).append(event.data)
            if event.type == type_of(JobSucceeded):
                break
    return facts


def _of(kind: type[E], facts: dict[str, list[bytes]]) -> list[E]:
    return [msgspec.json.decode(each, type=kind) for each in facts.get(type_of(kind), [])]


def _curve(path: Path) -> Curve:
    with path.open(newline="") as stream:
        return [(int(row["step"]), float(row["train_loss"])) for row in csv.DictReader(stream)]


def _compared(plain: Told, taken: Told) -> object:
    rows = show.table("", "undisturbed", "preempted", right=["undisturbed", "preempted"])
    both = (plain, taken)
    rows.add_row("adapter, sha256", *(each.finished.sha256[:16] + "…" for each in both))
    rows.add_row("optimiser steps", *(f"{each.finished.steps:,}" for each in both))
    rows.add_row("last loss", *(f"{each.curve[-1][1]:.6f}" for each in both))
    rows.add_row("interruptions", *(str(len(each.interrupted)) for each in both))
    rows.add_row("steps lost", *(str(sum(one.lost_steps for one in each.interrupted)) for each in both))
    rows.add_row("seconds lost", *(f"{sum(one.seconds for one in each.recovered):.0f}" for each in both))
    rows.add_row("seconds from first step to adapter", *(f"{each.seconds:.0f}" for each in both))
    return rows


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> None:
    """Run it, and where it fails say which log to read."""
    structlog.configure(processors=[structlog.processors.add_log_level, structlog.dev.ConsoleRenderer(colors=False)])
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    home = Home(Path(os.environ.get("WOODSHED_HOME", HOME / "demo-spot")).resolve())
    try:
        sys.exit(until_told(demo(home, console)))
    except CliError as error:
        console.print(show.error(error))
    except (httpx.HTTPError, OSError, KeyError) as error:
        console.print(Text(f"The demonstration broke off: {error!r}", style="red"))
    machines = home.folder / "work" / "trainer" / "machines"
    console.print(f"Read trainer.log in {home.folder / 'logs'}, and the logs in {machines}.", soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
