"""Writes what other programs read of the contracts: JSON Schemas and one AsyncAPI 3.0 document.

Everything is derived from the catalogue; a test fails when what is committed differs:

    python -m contracts.generate
"""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from contracts.base import Event, Question, Refusal
from contracts.catalogue import FACTS, QUESTIONS, SERVICES, Asked, Fact

HERE = Path(__file__).resolve().parent
REF = "#/components/schemas/{name}"
HEADERS = "CloudEventsHeaders"
STREAMED = (
    "The answer comes in pieces. Each is a request that the reader acknowledges, naming its inbox again, before the "
    "next is sent; an empty message ends the answer, a refusal breaks it off."
)

WHAT_TOKENS_MEAN = {
    "tenant": "The organisation the fact belongs to; `platform` for facts that belong to none.",
    "dataset_id": "A dataset.",
    "delivery_id": "An event on its way to a webhook endpoint.",
    "device_id": "A device of the trainer.",
    "evaluation_id": "An evaluation of a run.",
    "file_id": "An uploaded file.",
    "job_id": "A person's wish to train.",
    "member_id": "Somebody who belongs to the organisation.",
    "month": "A calendar month, such as 2026-11.",
    "notice_id": "A notice to a person.",
    "period": "What a budget is for: monthly.",
    "recipient_id": "Somebody who is told what happens.",
    "run_id": "A job being carried out.",
    "webhook_id": "A webhook endpoint.",
}


def kinds() -> dict[str, type[Struct]]:
    """Return every struct that travels, by its tag: facts, questions, answers and the refusal."""
    found: list[type[Struct]] = [fact.kind for fact in FACTS]
    for asked in QUESTIONS:
        found += [asked.kind, asked.answer]
    found.append(Refusal)
    return {_tag(kind): kind for kind in found}


def schema_of(kind: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one kind. Fields it does not name are to be ignored, not refused."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": _tag(kind)} | msgspec.json.schema(kind)


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document: a channel for each subject, an operation for each teller and hearer."""
    _, schemas = msgspec.json.schema_components(kinds().values(), ref_template=REF)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Woodshed",
            "version": "1",
            "description": "What Woodshed's services tell and ask each other over NATS. Subscribe to `evt.<tenant>.>` "
            "with credentials of your own to follow your tenant's facts; they carry ids, counts and figures only.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "installation": {
                "host": "{host}:{port}",
                "protocol": "nats",
                "description": "The NATS server of an installation; its streams EVENTS and TELEMETRY keep the facts.",
                "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "4222"}},
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "schemas": dict(sorted((schemas | {HEADERS: _headers()}).items())),
            "messages": {_tag(kind): _message(kind) for kind in kinds().values()},
            "parameters": {name: {"description": what} for name, what in WHAT_TOKENS_MEAN.items()},
        },
    }


def files() -> dict[Path, str]:
    """Return every generated file with its text."""
    written = {HERE / "schemas" / f"{tag}.json": _as_text(schema_of(kind)) for tag, kind in kinds().items()}
    return written | {HERE / "asyncapi.json": _as_text(asyncapi())}


def main() -> None:
    """Write the files and remove schemas of kinds that no longer exist."""
    wanted = files()
    (HERE / "schemas").mkdir(exist_ok=True)
    for stale in set((HERE / "schemas").glob("*.json")) - set(wanted):
        stale.unlink()
    for path, text in wanted.items():
        path.write_text(text)


def _channels() -> dict[str, Any]:
    channels = {fact.type: _channel(fact.kind, fact.kind.subject) for fact in FACTS}
    for asked in QUESTIONS:
        channels[asked.type] = _channel(asked.kind, asked.kind.subject)
        channels[f"{asked.type}.reply"] = _channel(asked.answer, None) | {
            "messages": {_tag(kind): _to(f"components/messages/{_tag(kind)}") for kind in (asked.answer, Refusal)},
            "description": "The inbox the question names.",
        }
    return channels


def _channel(kind: type[Struct], address: str | None) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", address or "")
    channel: dict[str, Any] = {
        "address": address,
        "messages": {_tag(kind): _to(f"components/messages/{_tag(kind)}")},
    }
    return channel | ({"parameters": {name: _to(f"components/parameters/{name}") for name in names}} if names else {})


def _operations() -> dict[str, Any]:
    operations: dict[str, Any] = {}
    for fact in FACTS:
        operations[f"{fact.owner}.tells.{fact.type}"] = _operation("send", fact.type, fact.owner, fact.kind)
        for service in SERVICES:
            if _hears(service, fact):
                name = f"{service}.hears.{fact.type}"
                operations[name] = _operation("receive", fact.type, service, fact.kind)
    for asked in QUESTIONS:
        operations[f"{asked.asked_by}.asks.{asked.type}"] = _with_reply("send", asked.asked_by, asked)
        operations[f"{asked.answered_by}.answers.{asked.type}"] = _with_reply("receive", asked.answered_by, asked)
    return operations


def _hears(service: str, fact: Fact) -> bool:
    return service == "gateway" or service in fact.readers


def _operation(action: str, channel: str, service: str, kind: type[Struct]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": _to(f"channels/{channel}"),
        "summary": _first_sentence(kind),
        "tags": [{"name": service}],
        "messages": [_to(f"channels/{channel}/messages/{channel}")],
    }


def _with_reply(action: str, service: str, asked: Asked) -> dict[str, Any]:
    reply = f"{asked.type}.reply"
    within = f"Answered within {asked.deadline:g} s."
    return _operation(action, asked.type, service, asked.kind) | {
        "description": f"{within} {STREAMED}" if asked.streamed else within,
        "reply": {
            "channel": _to(f"channels/{reply}"),
            "messages": [_to(f"channels/{reply}/messages/{_tag(kind)}") for kind in (asked.answer, Refusal)],
        },
    }


def _message(kind: type[Struct]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": _tag(kind),
        "title": kind.__name__,
        "summary": _first_sentence(kind),
        "contentType": "application/json",
        "payload": _to(f"components/schemas/{kind.__name__}"),
    }
    if issubclass(kind, Event):
        message["headers"] = _to(f"components/schemas/{HEADERS}")
    elif issubclass(kind, Question):
        message["headers"] = {"type": "object", "properties": _trace()}
    return message


def _headers() -> dict[str, Any]:
    """CloudEvents 1.0 in binary mode (NATS binding): the attributes are headers, the body is the data."""
    return {
        "type": "object",
        "description": "CloudEvents 1.0 attributes in binary mode, and the W3C trace context.",
        "required": ["Nats-Msg-Id", "ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time", "content-type"],
        "properties": {
            "Nats-Msg-Id": {"type": "string", "description": "Equals ce-id; the stream drops repeats."},
            "ce-specversion": {"const": "1.0"},
            "ce-id": {"type": "string"},
            "ce-source": {"enum": [f"/woodshed/{service}" for service in SERVICES]},
            "ce-type": {"enum": [fact.type for fact in FACTS]},
            "ce-time": {"type": "string", "format": "date-time"},
            "content-type": {"const": "application/json"},
        }
        | _trace(),
    }


def _trace() -> dict[str, Any]:
    return {"traceparent": {"type": "string", "description": "Absent when the work is not traced."}}


def _tag(kind: type[Struct]) -> str:
    return str(kind.__struct_config__.tag)


def _first_sentence(kind: type[Struct]) -> str:
    paragraph = " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())
    return re.sub(r":\w+:`(\w+)`", r"\1", paragraph)


def _to(place: str) -> dict[str, str]:
    return {"$ref": f"#/{place}"}


def _as_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
