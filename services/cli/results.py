"""``woodshed report``, ``download``, ``ask``: what a job left."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import Progress, TaskID

from services.cli import show
from services.cli.client import Json
from services.cli.errors import Problem, Refused
from services.cli.files import transfer
from services.cli.session import Here, Session, app

Out = Annotated[Path | None, Parameter(help="folder to write to (default: one named after the job)")]


@app.command
async def report(job: str, *, out: Out = None, here: Here) -> None:
    """Fetch the proof as PDF and HTML, and show its summary."""
    found = await here.api.get(f"/v1/fine_tuning/jobs/{job}/report")
    here.console.print(show.report(found), "")
    for path in await fetch_report(here, job, out or Path(job)):
        here.console.print(f"  {path}")


@app.command
async def download(job: str, *, out: Out = None, here: Here) -> None:
    """Fetch the adapter's files; a download that broke off goes on where it stopped, and each is checked."""
    for path in await fetch_artifacts(here, job, out or Path(job)):
        here.console.print(f"  {path}")


@app.command
async def ask(job: str, prompt: str, *, max_tokens: int = 96, here: Here) -> None:
    """Ask the base model and yours the same thing, and see the difference."""
    body = {"prompt": prompt, "max_tokens": max_tokens}
    with here.console.status("both models think …"):
        found = await here.api.post(f"/v1/fine_tuning/jobs/{job}/ask", body)
    here.console.print(show.replies(prompt, found["base"], found["tuned"]))


async def fetch_report(here: Session, job: str, folder: Path) -> list[Path]:
    """Write the report's PDF and HTML into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "report.pdf", folder / "report.html"]
    for path in paths:
        await here.api.fetch(f"/v1/fine_tuning/jobs/{job}/{path.name}", path)
    return paths


async def fetch_artifacts(here: Session, job: str, folder: Path) -> list[Path]:
    """Write the adapter's files into a folder, each checked against its sha256."""
    found: list[Json] = (await here.api.get(f"/v1/fine_tuning/jobs/{job}/artifacts"))["data"]
    if not found:
        await _explain_nothing(here, job)
    folder.mkdir(parents=True, exist_ok=True)
    with transfer(here) as bar:
        for each in found:
            task = bar.add_task(show.clean(each["name"]), total=each["size"])
            target = folder / Path(each["name"]).name
            await here.api.download(each["url"], target, each["sha256"], partial(_arrived, bar, task))
    return [folder / Path(each["name"]).name for each in found]


def _arrived(bar: Progress, task: TaskID, count: int) -> None:
    bar.update(task, completed=count)


async def _explain_nothing(here: Session, job: str) -> None:
    found = await here.api.get(f"/v1/fine_tuning/jobs/{job}")
    raise Refused(
        Problem(status=409, detail=f"The job has no files yet: it is {found['status']}.", fix=f"woodshed watch {job}")
    )
