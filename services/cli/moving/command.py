"""The command and what it prints: a bar while files come, then what came and what could not."""

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from contracts.recipes import SHIPPED_MODEL
from services.cli import show
from services.cli.client import Json
from services.cli.errors import Unusable
from services.cli.files import transfer
from services.cli.moving import plan
from services.cli.moving.mover import Mover, Wish
from services.cli.moving.source import Source
from services.cli.moving.state import Notebook
from services.cli.session import Here, Session, app

KEYS = ("WOODSHED_FROM_KEY", "OPENAI_API_KEY")

From = Annotated[str, Parameter(name="--from", help="the other server, such as https://api.openai.com/v1")]
FromKey = Annotated[str, Parameter(help="its API key; better in WOODSHED_FROM_KEY or OPENAI_API_KEY")]
DryRun = Annotated[bool, Parameter(help="only say what would come")]
Train = Annotated[bool, Parameter(help="submit the jobs that succeeded there as new training here")]
Model = Annotated[str, Parameter(help="base model for jobs whose own is not here")]
StatePath = Annotated[Path | None, Parameter(help="where to write down how far it is (default: move-in-HOST.json)")]


@app.command(name="move-in")
async def move_in(
    *,
    source: From,
    from_key: FromKey = "",
    dry_run: DryRun = False,
    train: Train = False,
    model: Model = SHIPPED_MODEL,
    state: StatePath = None,
    here: Here,
) -> None:
    """Bring files and jobs from another server of OpenAI's fine-tuning wire. Stopped, it goes on where it was."""
    models = (await here.api.get("/v1/models"))["data"]
    key = from_key or next((os.environ[name] for name in KEYS if os.environ.get(name)), "")
    if not key:
        raise Unusable(f"There is no API key for {source}. Give one with --from-key or in {KEYS[0]}.")
    path = state or Path(f"move-in-{urlsplit(source).netloc.replace(':', '-') or 'server'}.json")
    async with Source(source, key) as other:
        notebook = Notebook.open(path, other.url, here.api.access.url)
        mover = Mover(
            other,
            here.api,
            notebook,
            Wish(train=train, model=model, dry_run=dry_run, models=frozenset(each["id"] for each in models)),
        )
        await _move(here, mover, dry_run=dry_run)
    _print(here, mover.report, train=train, dry_run=dry_run)
    if not dry_run:
        written = path.with_suffix(".report.json")
        written.write_bytes(msgspec.json.format(msgspec.json.encode(mover.report)))
        here.console.print(f"All of this, with every recipe: {written}", soft_wrap=True)


async def _move(here: Session, mover: Mover, *, dry_run: bool) -> None:
    files = await mover.look()
    if not dry_run:
        await _copy(here, mover, files)
    await mover.again(files if dry_run else [])


async def _copy(here: Session, mover: Mover, files: list[Json]) -> None:
    with transfer(here) as bar:
        task = bar.add_task(f"copying {len(files)} files", total=mover.report.bytes)
        await mover.copy(files, lambda count: bar.advance(task, count))


def _print(here: Session, report: plan.Report, *, train: bool, dry_run: bool) -> None:
    submitted = [each for each in report.recipes if each.job]
    if dry_run:
        here.console.print(f"{show.size(report.bytes)} would come, beside {len(report.files)} files that have.")
    else:
        here.console.print(f"{len(report.files)} files are here, {show.size(report.bytes)} of them came now.")
    here.console.print(f"{len(submitted)} of {len(report.recipes)} jobs that succeeded there are jobs here.")
    if len(submitted) < len(report.recipes) and not train:
        here.console.print("Their models stay there. Train them again here: the same command with --train")
    if report.left:
        here.console.print(_left(report.left))


def _left(left: list[plan.Left]) -> Table:
    rows = show.table("could not come", "which", "why")
    for each in left:
        rows.add_row(each.kind, Text(show.clean(each.name)), Text(show.clean(each.why)))
    return rows
