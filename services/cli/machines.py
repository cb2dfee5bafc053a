"""``woodshed machines``: what trains here, what it does, and since when nothing was heard of it."""

from rich.text import Text

from services.cli import show
from services.cli.client import Json
from services.cli.session import Here, app

GIGABYTE = 1e9


@app.command
async def machines(*, here: Here) -> None:
    """List the devices that train, with your jobs on them."""
    found = await here.api.get("/v1/machines")
    rows = show.table("device", "what", "state", "jobs", "heard", "free GB", right=["free GB"])
    for each in found["data"]:
        rows.add_row(
            each["device_id"], Text(show.clean(each["kind"])), state(each), jobs(each), heard(each),
            f"{each['free_bytes'] / GIGABYTE:.1f} of {each['memory_bytes'] / GIGABYTE:.1f}",
        )  # fmt: skip
    here.console.print(rows if found["data"] else "No machine is here. Start one: python -m services.trainer.runner")
    if found["coming"]:
        here.console.print(f"{found['coming']} more asked for and not heard of yet.")


def state(device: Json) -> str:
    """Say in a word whether a device can be had."""
    if not device["online"]:
        return "leaving" if device["leaving"] else "silent"
    return "at work" if device["jobs"] or device["others"] else "idle"


def jobs(device: Json) -> str:
    """Name one's own jobs, and count those of others."""
    others = [f"{device['others']} of others"] if device["others"] else []
    return "\n".join([*device["jobs"], *others]) or "–"


def heard(device: Json) -> str:
    """Say when its runner was heard last."""
    return "–" if device["heard_ago"] is None else f"{device['heard_ago']:.0f} s ago"
