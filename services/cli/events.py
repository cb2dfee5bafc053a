"""``woodshed events``: credentials with which programs of your own subscribe to events on NATS."""

from typing import Annotated

from cyclopts import App, Parameter

from services.cli import show
from services.cli.client import Json
from services.cli.people import lifetime
from services.cli.session import Here, app

PATH = "/v1/event_credentials"

events = App(name="events", help="Subscribe to what happens, on NATS.")
credentials = App(name="credentials", help="Credentials that hear your organisation's events, and nothing else.")
app.command(events)
events.command(credentials)


@credentials.command
async def make(
    name: str,
    *,
    expires: Annotated[str, Parameter(help="how long they hold, such as 90d (default: as long as your key)")] = "",
    here: Here,
) -> None:
    """Make credentials and print them as settings, this once."""
    made = await here.api.post(PATH, {"name": name, "expires_in": lifetime(expires) if expires else None})
    settings = {
        "NATS_URL": made["servers"],
        "NATS_USER": made["user"],
        "NATS_PASSWORD": made["password"],
        "NATS_INBOX": made["inbox_prefix"],
        "EVENTS": made["subject"],
        "MISSED": made["missed"],
    }
    for variable, value in settings.items():
        here.console.print(f"{variable}={value}", soft_wrap=True, markup=False)
    here.console.print(f"# ends: {_end(made['credential'])} · the password is printed this once", markup=False)


@credentials.command(name="list")
async def list_credentials(*, here: Here) -> None:
    """List credentials, the latest first, with when somebody last came in with them."""
    found = await here.api.get(PATH, limit=100)
    rows = show.table("credentials", "name", "member", "ends", "last connected")
    for each in found["data"]:
        connected = show.moment(each["connected_at"]) if each["connected_at"] else "never"
        rows.add_row(each["id"], show.clean(each["name"]), each["member"], _end(each), connected)
    here.console.print(
        rows if found["data"] else "There are none yet. Make some: woodshed events credentials make NAME"
    )


@credentials.command
async def revoke(credential: str, *, here: Here) -> None:
    """Make credentials void; whoever is connected with them is shown out within seconds."""
    await here.api.delete(f"{PATH}/{credential}")
    here.console.print(f"{credential} lets nobody in any more.")


def _end(credential: Json) -> str:
    if credential["revoked_at"]:
        return f"revoked {show.moment(credential['revoked_at'])}"
    return show.moment(credential["expires_at"]) if credential["expires_at"] else "never"
