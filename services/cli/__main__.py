"""``woodshed``: reads the command line, runs one command, and turns what goes wrong into words and an exit code."""

import asyncio
import sys
from typing import Annotated, Any

from cyclopts import CycloptsError, Parameter
from rich.console import Console

from services.cli import (
    access,
    budgets,
    chatting,
    datasets,
    events,
    files,
    jobs,
    links,
    machines,
    notices,
    people,
    results,
    retries,
    show,
    trackers,
    webhooks,
)
from services.cli.client import Api
from services.cli.errors import CliError
from services.cli.moving import command as moving
from services.cli.session import Session, app

INTERRUPTED = 130
WIDTH = 160
ROOMS = (
    files,
    datasets,
    jobs,
    retries,
    results,
    chatting,
    links,
    webhooks,
    events,
    notices,
    people,
    budgets,
    trackers,
    machines,
    moving,
)
"""Importing a room adds its commands."""


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    url: Annotated[str | None, Parameter(help="the API's address, such as http://127.0.0.1:8080")] = None,
    key: Annotated[str | None, Parameter(help="an API key; better in WOODSHED_API_KEY, where nobody sees it")] = None,
) -> None:
    """Find the API, then run the command on it."""
    command, bound, ignored = app.parse_args(tokens, exit_on_error=False, print_error=False)
    if "here" not in ignored:
        command(*bound.args, **bound.kwargs)
        return
    found = access.find(url, key)
    asyncio.run(_run(found, command, bound))


async def _run(found: access.Access, command: Any, bound: Any) -> None:
    async with Api(found) as api:
        await command(*bound.args, **bound.kwargs, here=Session(api, terminal()))


def terminal() -> Console:
    """Return what commands write on: the terminal, or lines long enough for programs to read."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)


def main() -> None:
    """Entry of ``woodshed``."""
    complaints = Console(stderr=True, highlight=False)
    try:
        app.meta(sys.argv[1:], exit_on_error=False, print_error=False)
    except CliError as error:
        complaints.print(show.error(error))
        sys.exit(error.code)
    except CycloptsError as error:
        complaints.print(f"[bold red]Error:[/] {error}", "See: woodshed --help", sep="\n")
        sys.exit(2)
    except KeyboardInterrupt:
        complaints.print("Stopped watching. What was accepted goes on: woodshed jobs list")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
