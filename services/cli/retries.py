"""``woodshed retry``, ``log``: after a failure."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.prompt import Confirm

from services.cli import files, show
from services.cli.client import Json
from services.cli.errors import Problem, Refused, Unusable
from services.cli.jobs import Limit, follow, seconds_of
from services.cli.session import Here, Session, app

Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="submit without being asked")]
AsItWas = Annotated[bool, Parameter(negative="", help="leave the fix out: the same job once more")]
Force = Annotated[bool, Parameter(negative="", help="submit another retry although one is there already")]
To = Annotated[Path | None, Parameter(help="file to write to (default: the terminal)")]


@app.command
async def retry(
    job: str,
    *,
    file: Path | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    rank: int | None = None,
    max_length: int | None = None,
    time_limit: Limit = "",
    as_it_was: AsItWas = False,
    force: Force = False,
    yes: Yes = False,
    here: Here,
) -> None:
    """Try a failed job again with its fix: shows what changes, asks, submits and watches.

    Settings given here win over the fix; a mended file is uploaded first.
    """
    uploaded = None if file is None else (await files.send(here, file))["id"]
    seconds = seconds_of(time_limit) if time_limit else None
    wish = _given(
        training_file=uploaded, learning_rate=learning_rate, rank=rank, max_length=max_length, time_limit=seconds
    )
    await _show(here, job, wish | _given(n_epochs=epochs, as_it_was="true" if as_it_was else None))
    _agree(here, yes=yes)
    body = wish | _given(hyperparameters=_given(n_epochs=epochs)) | {"as_it_was": as_it_was, "force": force}
    made = await here.api.post(f"/v1/fine_tuning/jobs/{job}/retry", body)
    here.console.print(f"\nJob {made['id']} is accepted as a retry of {job}.")
    await follow(here, made["id"])


@app.command
async def log(job: str, *, to: To = None, here: Here) -> None:
    """Print a job's story and how every attempt ended: exit codes and last lines."""
    text = show.clean(await here.api.text(f"/v1/fine_tuning/jobs/{job}/log"))
    if to is None:
        here.console.out(text, highlight=False)
    else:
        to.write_text(text)
        here.console.print(f"  {to}")


def _given(**values: Any) -> Json:
    """Return what was given a value."""
    return {name: value for name, value in values.items() if value is not None}


async def _show(here: Session, job: str, asked: dict[str, Any]) -> None:
    """Show what will change; ``Refused`` when it cannot be tried again like this."""
    found = await here.api.get(f"/v1/fine_tuning/jobs/{job}/retry", **asked)
    if not found["possible"]:
        raise Refused(Problem(status=409, detail=found["hindrance"], fix=f"woodshed jobs show {job}"))
    here.console.print(show.changes(found["changes"]))


def _agree(here: Session, *, yes: bool) -> None:
    if yes:
        return
    if not here.console.is_terminal:
        raise Unusable("Nobody can be asked here: add --yes to submit.")
    if not Confirm.ask("Submit it?", console=here.console, default=True):
        raise Unusable("Nothing was submitted.")
