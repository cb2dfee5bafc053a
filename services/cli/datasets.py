"""``woodshed datasets``: files as examples for one base model."""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter
from rich.progress import BarColumn, Progress, TextColumn

from contracts.datasets import DatasetPreview
from services.cli import show
from services.cli.client import Json
from services.cli.errors import EndedBadly
from services.cli.session import Here, Session, app

LOOK_EVERY = 0.3

Format = Annotated[str, Parameter(help="messages, sharegpt, alpaca, prompt_completion, whisperx; auto finds out")]
By = Annotated[
    Literal["conversation", "speaker"],
    Parameter(help="what is never torn apart: with speaker, nobody heard in the test was heard in training"),
]
NearDuplicates = Annotated[
    Literal["drop", "keep"],
    Parameter(help="of examples that are nearly the same use only the first, or all of them, in one split together"),
]

datasets = App(name="datasets", help="Datasets: a file, checked and divided, as the model will read it.")
app.command(datasets)


@datasets.command
async def create(
    file_id: str,
    *,
    format: Format = "auto",
    by: By = "conversation",
    near_duplicates: NearDuplicates = "drop",
    here: Here,
) -> None:
    """Check an uploaded file and make it a dataset; every bad line is named."""
    made = await build(here, file_id, format, by, near_duplicates)
    here.console.print(show.dataset(made))
    require_ready(made)


@datasets.command(name="list")
async def list_datasets(*, here: Here) -> None:
    """List the datasets, the latest first."""
    found = await here.api.get("/v1/datasets", limit=100)
    rows = show.table("dataset", "file", "state", "examples", "made", right=["examples"])
    for each in found["data"]:
        examples = f"{each['figures']['train_examples']:,}" if each["figures"] else ""
        rows.add_row(each["id"], show.clean(each["filename"]), each["state"], examples, show.moment(each["created_at"]))
    here.console.print(rows if found["data"] else "There are no datasets yet: woodshed datasets create FILE_ID")


@datasets.command(name="show")
async def show_dataset(dataset: str, *, here: Here) -> None:
    """Show a dataset's figures and every problem of its file."""
    here.console.print(show.dataset(await here.api.get(f"/v1/datasets/{dataset}")))


@datasets.command
async def preview(dataset: str, *, count: int = 3, here: Here) -> None:
    """Show examples exactly as the model reads them; what it learns to say is green and underlined."""
    here.console.print(show.preview(await previewed(here, dataset, count)))


async def previewed(here: Session, dataset: str, count: int) -> DatasetPreview:
    """Fetch the first examples."""
    found = await here.api.get(f"/v1/datasets/{dataset}/preview", count=count)
    return msgspec.convert(found, DatasetPreview)


async def build(
    here: Session, file_id: str, format: str = "auto", by: str = "conversation", near_duplicates: str = "drop"
) -> Json:
    """Ask for a dataset and wait, with a bar, until it is ready or refused."""
    split = {"by": by, "near_duplicates": near_duplicates}
    body: dict[str, Any] = {"file": file_id, "format": format, "split": split}
    made = await here.api.post("/v1/datasets", body)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"),
        console=here.console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("checking the file", total=None, figures="")
        while made["state"] not in ("ready", "refused"):
            bar.update(task, **_moved(made.get("progress")))
            await asyncio.sleep(LOOK_EVERY)
            made = await here.api.get(f"/v1/datasets/{made['id']}")
    return made


def require_ready(dataset: Json) -> None:
    """Raise ``EndedBadly`` when the file cannot be used."""
    if dataset["state"] != "ready":
        raise EndedBadly("The file cannot be used as it is; what to mend stands above. The upload itself is kept.")


def _moved(progress: Json | None) -> dict[str, Any]:
    if not progress:
        return {}
    figures = f"{progress['examples']:,} examples, {progress['bad_lines']:,} bad lines"
    stage = show.clean(progress["stage"]).replace("_", " ")
    done, total = progress["done_bytes"], progress["total_bytes"]
    return {"completed": done, "total": total, "description": stage, "figures": figures}
