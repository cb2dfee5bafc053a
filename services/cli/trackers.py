"""``woodshed wandb``: the organisation's own key for Weights & Biases."""

from cyclopts import App

from services.cli.client import Json
from services.cli.session import Here, app, asked

PATH = "/v1/wandb_key"

wandb = App(name="wandb", help="The organisation's own key for Weights & Biases.")
app.command(wandb)


@wandb.command
async def show(*, here: Here) -> None:
    """Say whether jobs can be shown in Weights & Biases."""
    here.console.print(said(await here.api.get(PATH)))


@wandb.command(name="set")
async def set_key(*, here: Here) -> None:
    """Ask for a key, and have the organisation's jobs shown with it."""
    here.console.print(said(await here.api.put(PATH, {"api_key": asked("API key of Weights & Biases: ")})))


@wandb.command
async def remove(*, here: Here) -> None:
    """Forget the organisation's own key."""
    here.console.print(said(await here.api.delete(PATH)))


def said(found: Json) -> str:
    """Say with which key jobs are shown, if they can be."""
    if found["api_key"]:
        return f"Jobs that ask for Weights & Biases are shown with the organisation's key {found['api_key']}."
    if found["available"]:
        return "Jobs that ask for Weights & Biases are shown with the installation's key."
    return "There is no key for Weights & Biases, so a job that asks for it is refused: woodshed wandb set"
