"""What every command is given: the API and the console to write on; and how secrets are asked for."""

from getpass import getpass
from typing import Annotated

from cyclopts import App, Parameter
from msgspec import Struct
from rich.console import Console

from services.cli.client import Api


class Session(Struct, frozen=True):
    """One run of the program."""

    api: Api
    console: Console


Here = Annotated[Session, Parameter(parse=False)]
"""Marks the parameter that gets the session; people do not see it."""

app = App(
    name="woodshed",
    help="Turn an organisation's own words into fine-tuned models whose improvement is proven.",
    help_epilogue="Where: --url or WOODSHED_URL. Who: --key or WOODSHED_API_KEY; on this machine both are found.",
    version_flags=[],
)


def asked(prompt: str) -> str:
    """Ask for a secret that no history of commands shall hold; empty where nobody answers."""
    try:
        return getpass(prompt).strip()
    except EOFError:
        return ""
