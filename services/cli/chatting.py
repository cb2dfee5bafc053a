"""``woodshed chat``: a conversation with a model, one message or as many as a person types."""

import sys
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from services.cli import show
from services.cli.errors import Problem, Refused
from services.cli.session import Here, Session, app

Message = dict[str, str]
System = Annotated[str, Parameter(help="what the model shall be, said before everything else")]
Temperature = Annotated[float, Parameter(help="0 says the likeliest, 1 draws as the model would")]


class _Delta(Struct):
    content: str = ""


class _Choice(Struct):
    delta: _Delta


class _Chunk(Struct):
    choices: list[_Choice] = []


@app.command
async def chat(
    model: str,
    message: str | None = None,
    *,
    system: System = "",
    temperature: Temperature = 0.7,
    max_tokens: int | None = None,
    here: Here,
) -> None:
    """Talk with a base model, a trained one, or a job's; without a message, line by line until Ctrl-D."""
    asked: dict[str, Any] = {"model": await _model(here, model), "temperature": temperature, "stream": True}
    asked |= {} if max_tokens is None else {"max_tokens": max_tokens}
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for said in [message] if message else _typed():
        messages.append({"role": "user", "content": said})
        messages.append({"role": "assistant", "content": await _reply(here, asked | {"messages": messages})})


async def _model(here: Session, name: str) -> str:
    """Return the model a name means; a job's id means what it made."""
    if not name.startswith("ftjob-"):
        return name
    job = await here.api.get(f"/v1/fine_tuning/jobs/{name}")
    if job["fine_tuned_model"] is None:
        waiting = Problem(
            status=409, detail=f"The job has no model: it is {job['status']}.", fix=f"woodshed watch {name}"
        )
        raise Refused(waiting)
    return str(job["fine_tuned_model"])


def _typed() -> Any:
    """Yield what a person types, or what another program writes, a line each."""
    if sys.stdin.isatty():
        print("Ctrl-D ends.", file=sys.stderr)
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


async def _reply(here: Session, body: dict[str, Any]) -> str:
    """Show a reply as it comes, and return it."""
    reply = ""
    async for data in here.api.told("/v1/chat/completions", body):
        for choice in msgspec.json.decode(data, type=_Chunk).choices:
            reply += choice.delta.content
            here.console.out(show.clean(choice.delta.content), end="", highlight=False)
    here.console.print()
    return reply
