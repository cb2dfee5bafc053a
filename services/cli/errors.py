"""What can go wrong between a person and the API, each with the exit code a script sees.

  0  done
  1  it was done as asked and ended badly: a job failed or was cancelled, a dataset was refused
  2  the command line makes no sense, or there is no address or key to use
  3  the API refused: the message says why and how to mend it
  4  nobody answers at the address, or the connection broke for good
  5  Woodshed itself is busy or at fault; the same command may work later
130  interrupted with Ctrl-C; what was accepted goes on
"""

import msgspec
from msgspec import Struct


class CliError(Exception):
    """Something a person must know; ``code`` is the exit code."""

    code = 1


class EndedBadly(CliError):
    """The wish was carried out to an end nobody hoped for."""


class Unusable(CliError):
    """What was given cannot be used."""

    code = 2


class Unreachable(CliError):
    """Nobody answers."""

    code = 4


class Problem(Struct, kw_only=True):
    """RFC 9457 problem details, as the gateway writes them."""

    status: int
    detail: str
    code: str = ""
    field: str | None = None
    fix: str | None = None
    trace_id: str | None = None


class Refused(CliError):
    """The API said no, or not now."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.code = 5 if problem.status >= 500 else 3


def refusal(status: int, body: bytes) -> Refused:
    """Read a refusal; a body that is no problem is shown as it is."""
    try:
        return Refused(msgspec.json.decode(body, type=Problem))
    except msgspec.MsgspecError:
        said = body[:300].decode(errors="replace").strip()
        fix = "That is no answer of Woodshed: is another program listening at this address? See --url."
        return Refused(Problem(status=status, detail=f"The server answered {status}: {said}", fix=fix))
