"""``woodshed files``: uploads."""

from pathlib import Path

from cyclopts import App
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from services.cli import show
from services.cli.client import Json
from services.cli.errors import Unusable
from services.cli.session import Here, Session, app

files = App(name="files", help="Files of conversations or lessons: upload, list, delete.")
app.command(files)


@files.command(name="list")
async def list_files(*, here: Here) -> None:
    """List the uploads, the latest first."""
    found = await here.api.get("/v1/files")
    rows = show.table("file", "name", "size", "made", right=["size"])
    for each in found["data"]:
        made = show.moment(each["created_at"])
        rows.add_row(each["id"], show.clean(each["filename"]), show.size(each["bytes"]), made)
    here.console.print(rows if found["data"] else "There are no files yet. Add one: woodshed files upload FILE")


@files.command
async def upload(file: Path, *, here: Here) -> None:
    """Upload a file; it can be read back byte for byte until it is deleted."""
    made = await send(here, file)
    here.console.print(f"{made['id']}  sha256 {made['sha256']}")


@files.command
async def delete(file_id: str, *, here: Here) -> None:
    """Delete a file and its bytes; datasets and models made of it stay."""
    await here.api.delete(f"/v1/files/{file_id}")
    here.console.print(f"{file_id} is gone.")


async def send(here: Session, path: Path) -> Json:
    """Upload with a bar; ``Unusable`` when there is no such file."""
    if not path.is_file():
        raise Unusable(f"There is no file {path}.")
    with transfer(here) as bar:
        task = bar.add_task(f"uploading {show.clean(path.name)}", total=path.stat().st_size)
        made = await here.api.upload(path, lambda count: bar.advance(task, count))
    here.console.print(Text(f"Uploaded {show.clean(path.name)}, {show.size(made['bytes'])}, as {made['id']}"))
    return made


def transfer(here: Session) -> Progress:
    """Return a bar for bytes on their way."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=here.console, transient=True,
    )  # fmt: skip
