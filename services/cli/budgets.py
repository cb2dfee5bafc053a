"""``woodshed budget``: what the organisation may spend in a month."""

from typing import Annotated

from cyclopts import App, Parameter

from services.cli.client import Json
from services.cli.session import Here, Session, app

PATH = "/v1/budget"

budget = App(name="budget", help="What the organisation may spend in a month.")
app.command(budget)


@budget.command
async def show(*, here: Here) -> None:
    """Say what this month may cost, and what of it is spent."""
    _print(here, await here.api.get(PATH))


@budget.command(name="set")
async def set_monthly(
    amount: float,
    *,
    zone: Annotated[str, Parameter(help="by whose clock a month begins, such as Europe/Berlin")] = "UTC",
    here: Here,
) -> None:
    """Limit what a month may cost; what this one has cost so far counts."""
    _print(here, await here.api.put(PATH, {"monthly": amount, "time_zone": zone}))


@budget.command
async def remove(*, here: Here) -> None:
    """Let a month cost what it likes."""
    _print(here, await here.api.delete(PATH))


def _print(here: Session, found: Json) -> None:
    here.console.print(said(found))


def said(found: Json) -> str:
    """Say how a month stands."""
    if found["monthly"] is None:
        return "There is no budget: a month may cost what it likes. Set one: woodshed budget set AMOUNT"
    stands = (
        f"{found['month']} ({found['time_zone']}): {found['spent']:.2f} of {found['monthly']:.2f} spent, "
        f"{found['held']:.2f} held for running jobs, {found['left']:.2f} left."
    )
    over = " It is used up: no job is accepted until it is raised or the month is over."
    return f"{stands}{over}" if found["used_up"] else stands
