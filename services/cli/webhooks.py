"""``woodshed webhooks``: addresses of your own that are called when something ends."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from services.cli import show
from services.cli.client import Json
from services.cli.errors import Unusable
from services.cli.session import Here, Session, app

PATH = "/v1/webhook_endpoints"
STANDARD = ("fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled")

webhooks = App(name="webhooks", help="Addresses of your own that are called, signed, when something ends.")
app.command(webhooks)


@webhooks.command
async def add(
    url: str,
    *,
    event: Annotated[
        list[str] | None, Parameter(help="call it for this; give it several times (default: every end)")
    ] = None,
    name: Annotated[str | None, Parameter(help="what you call it (default: its address)")] = None,
    laravel: Annotated[bool, Parameter(help="add the plain signature header that Laravel's client reads")] = False,
    here: Here,
) -> None:
    """Have an address called; prints its signing secret, once."""
    wish = {
        "url": url,
        "name": (name or url)[:200],
        "event_types": event or list(STANDARD),
        "laravel_signature": laravel,
    }
    made = await here.api.post(PATH, wish)
    _show_secret(here, made)


@webhooks.command(name="list")
async def list_webhooks(*, here: Here) -> None:
    """List the endpoints, the latest first."""
    found = await here.api.get(PATH, limit=100)
    rows = show.table("webhook", "address", "events", "state")
    for each in found["data"]:
        rows.add_row(each["id"], Text(show.clean(each["url"])), "\n".join(each["event_types"]), _state(each))
    here.console.print(rows if found["data"] else "There are no webhooks yet. Add one: woodshed webhooks add URL")


@webhooks.command
async def events(*, here: Here) -> None:
    """List what an endpoint can be called for."""
    for name in (await here.api.get("/v1/webhook_event_types"))["data"]:
        here.console.print(name)


@webhooks.command
async def rotate(
    webhook: str,
    *,
    keep_old: Annotated[bool, Parameter(help="let the old secret sign too for 24 hours")] = False,
    here: Here,
) -> None:
    """Give an endpoint a new signing secret and print it, once."""
    wish = {"keep_old_secret_active_for_24_hours": keep_old}
    _show_secret(here, await here.api.post(f"{PATH}/{webhook}/rotate_secret", wish))


@webhooks.command
async def enable(webhook: str, *, here: Here) -> None:
    """Call an endpoint again; what waits for it is sent first."""
    await here.api.post(f"{PATH}/{webhook}", {"enabled": True})
    here.console.print(f"{webhook} is called again.")


@webhooks.command
async def disable(webhook: str, *, here: Here) -> None:
    """Stop calling an endpoint until it is enabled again."""
    await here.api.post(f"{PATH}/{webhook}", {"enabled": False})
    here.console.print(f"{webhook} is not called any more. To begin again: woodshed webhooks enable {webhook}")


@webhooks.command
async def remove(webhook: str, *, here: Here) -> None:
    """Remove an endpoint."""
    await here.api.delete(f"{PATH}/{webhook}")
    here.console.print(f"{webhook} is gone.")


@webhooks.command(name="test")
async def try_out(webhook: str, *, event: str = STANDARD[0], here: Here) -> None:
    """Send an endpoint a sample now and say what it answers."""
    answer = await here.api.post(f"{PATH}/{webhook}/test", {"event_type": event})
    here.console.print(f"It answered {answer['status_code']} to a sample of {event}.")


@webhooks.command
async def deliveries(webhook: str, *, limit: int = 20, here: Here) -> None:
    """List what was sent to an endpoint, the latest first, with how each last call went."""
    if not 1 <= limit <= 100:
        raise Unusable("--limit must be between 1 and 100.")
    found = await here.api.get(f"{PATH}/{webhook}/deliveries", limit=limit)
    rows = show.table("delivery", "event", "job", "status", "calls", "last call", "next", right=["calls"])
    for each in found["data"]:
        calls, next_at = each["attempts"], each["next_try_at"]
        rows.add_row(
            each["id"], each["event_type"], each["job"], each["status"], str(len(calls)),
            _call(calls[-1]) if calls else Text("–"), show.moment(next_at) if next_at else "–",
        )  # fmt: skip
    here.console.print(rows if found["data"] else "Nothing was sent there yet.")


@webhooks.command
async def replay(webhook: str, delivery: str, *, here: Here) -> None:
    """Send an event once more, now, with the same id."""
    again = await here.api.post(f"{PATH}/{webhook}/deliveries/{delivery}/replay", {})
    here.console.print(f"{again['event_type']} of {again['job']} is sent again.")


def _show_secret(here: Session, made: Json) -> None:
    here.console.print(Text(f"{made['id']}  {show.clean(made['url'])}"), soft_wrap=True)
    here.console.print(Text(f"signing secret  {made['signing_secret']}"), soft_wrap=True)
    here.console.print("It is shown this once: give it to the program that answers there.")


def _state(endpoint: Json) -> Text:
    ours = endpoint["woodshed"]
    return (
        Text("called") if ours["enabled"] else Text(show.clean(ours["disabled_reason"] or "disabled"), style="yellow")
    )


def _call(call: Json) -> Text:
    if call["error"]:
        return Text(show.clean(call["error"]), style="red")
    return Text(f"{call['status_code']} in {call['milliseconds']:,} ms", style="green")
