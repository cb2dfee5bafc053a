"""``woodshed notices``: who is told what happens, on which channel, when."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from services.cli import show
from services.cli.client import Json
from services.cli.errors import Unusable
from services.cli.session import Here, app, asked

PATH = "/v1/notice_recipients"

notices = App(name="notices", help="Who is told what happens: by mail or Slack, now, in a daily digest, or not at all.")
app.command(notices)


@notices.command
async def add(
    name: str,
    *,
    email: str | None = None,
    slack: Annotated[bool, Parameter(help="also in the Slack channel of this installation")] = False,
    own_slack: Annotated[bool, Parameter(help="asks for an incoming webhook of Slack of their own")] = False,
    want: Annotated[
        list[str] | None, Parameter(help="THING:CHANNEL:WHEN, such as finished:email:digest; several times")
    ] = None,
    zone: Annotated[str, Parameter(help="time zone, such as Europe/Berlin")] = "UTC",
    quiet: Annotated[str | None, Parameter(help="when nothing comes at once, such as 22:00-07:00")] = None,
    digest_at: Annotated[str, Parameter(help="when the daily digest comes")] = "08:00",
    here: Here,
) -> None:
    """Have somebody told. As soon as anybody is named, notices go to those who are and nowhere else."""
    wish: Json = {"name": name, "email": email, "slack": slack, "time_zone": zone, "digest_at": digest_at}
    if own_slack:
        wish["slack_address"] = asked("Webhook: ")
    wish |= {"choices": choices(want or []), "quiet_hours": quiet_hours(quiet)}
    made = await here.api.post(PATH, wish)
    here.console.print(Text(f"{made['id']}  {show.clean(made['name'])} is told from now on."))


@notices.command(name="list")
async def list_recipients(*, here: Here) -> None:
    """List who is told, and how."""
    found = await here.api.get(PATH, limit=100)
    rows = show.table("recipient", "name", "by", "otherwise than now", "quiet", "digest at")
    for each in found["data"]:
        by = [each["email"], each["slack_address"] or ("Slack" if each["slack"] else None)]
        rows.add_row(
            each["id"], Text(show.clean(each["name"])), Text(show.clean(", ".join(way for way in by if way))),
            "\n".join(_said(each["choices"])) or "–", _quiet(each), f"{each['digest_at']} {each['time_zone']}",
        )  # fmt: skip
    nobody = "Nobody is named: notices go where the settings of this installation say. Add: woodshed notices add NAME"
    here.console.print(rows if found["data"] else nobody)


@notices.command
async def remove(recipient: str, *, here: Here) -> None:
    """Tell somebody nothing more, and forget their address."""
    await here.api.delete(f"{PATH}/{recipient}")
    here.console.print(f"{recipient} is told nothing more.")


def choices(wants: list[str]) -> dict[str, dict[str, str]]:
    """Read ``finished:email:digest`` and its like; ``Unusable`` names one that has not three parts."""
    found: dict[str, dict[str, str]] = {}
    for want in wants:
        parts = want.split(":")
        if len(parts) != 3:
            raise Unusable(f"{want!r} is not THING:CHANNEL:WHEN, such as finished:email:digest.")
        found.setdefault(parts[0], {})[parts[1]] = parts[2]
    return found


def quiet_hours(text: str | None) -> dict[str, str] | None:
    """Read ``22:00-07:00``; ``Unusable`` if it is not like that."""
    if text is None:
        return None
    begin, dash, end = text.partition("-")
    if not dash:
        raise Unusable(f"{text!r} is not BEGIN-END, such as 22:00-07:00.")
    return {"begin": begin.strip(), "end": end.strip()}


def _said(chosen: dict[str, dict[str, str]]) -> list[str]:
    return [f"{about} by {channel}: {when}" for about, by in chosen.items() for channel, when in by.items()]


def _quiet(recipient: Json) -> str:
    quiet = recipient["quiet_hours"]
    return f"{quiet['begin']}-{quiet['end']}" if quiet else "–"
