"""``woodshed links``: downloads for people without an API key, for a while."""

from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.text import Text

from services.cli import show
from services.cli.client import Json
from services.cli.session import Here, Session, app

PATH = "/v1/download_links"
HOUR = 3600

links = App(name="links", help="Links that download one thing without an API key: make, list, revoke.")
app.command(links)

Hours = Annotated[int, Parameter(help="hours until it expires, a week at most")]


@links.command
async def file(file_id: str, *, hours: Hours = 24, here: Here) -> None:
    """Share an upload."""
    await _make(here, {"file": file_id}, hours)


@links.command
async def artifact(job: str, name: str, *, hours: Hours = 24, here: Here) -> None:
    """Share a file that training made, such as adapter_model.safetensors."""
    await _make(here, {"job": job, "artifact": name}, hours)


@links.command
async def report(job: str, *, format: Literal["pdf", "html", "json"] = "pdf", hours: Hours = 24, here: Here) -> None:
    """Share a job's report."""
    await _make(here, {"job": job, "report": format}, hours)


@links.command(name="list")
async def list_links(*, here: Here) -> None:
    """List the links, the latest first, with how often each was used."""
    found = await here.api.get(PATH, limit=100)
    rows = show.table("link", "leads to", "state", "until", "downloads", right=["downloads"])
    for each in found["data"]:
        state = Text(each["status"], style="" if each["status"] == "active" else "yellow")
        rows.add_row(each["id"], _target(each), state, show.moment(each["expires_at"]), f"{each['downloads']:,}")
    here.console.print(rows if found["data"] else "There are no links yet. Make one: woodshed links report JOB")


@links.command
async def revoke(link: str, *, here: Here) -> None:
    """Make a link void at once."""
    await here.api.delete(f"{PATH}/{link}")
    here.console.print(f"{link} leads nowhere any more.")


async def _make(here: Session, wish: Json, hours: int) -> None:
    made = await here.api.post(PATH, wish | {"expires_in": hours * HOUR})
    here.console.print(Text(made["url"]), soft_wrap=True)
    here.console.print(
        f"It holds until {show.moment(made['expires_at'])}. To end it: woodshed links revoke {made['id']}"
    )


def _target(link: Json) -> Text:
    named = [link["file"], link["job"], link["artifact"], link["report"]]
    return Text(show.clean(" ".join(each for each in named if each)))
