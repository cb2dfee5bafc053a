"""How the API describes itself: OpenAPI 3.1, made from the routes."""

from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme, Tag

from services.gateway.domain.chat import NEUTRAL, ROLES, UNREADABLE
from services.gateway.domain.links import LEADS_TO
from services.gateway.domain.wishes import Wish
from services.gateway.problems import EXPLAINED

TAGS = (
    Tag("Files", "Uploads, and the files jobs leave behind (OpenAI's wire)."),
    Tag("Datasets", "A file as examples for one base model."),
    Tag("Fine-tuning", "Jobs on OpenAI's wire, our additions under `woodshed`."),
    Tag("Results", "Figures, files, report, and a word with the model."),
    Tag("Estimates", "What a job would take."),
    Tag("Models", "Base models and trained ones (OpenAI's wire)."),
    Tag("Notices", "Who is told what happens, on which channel, when."),
    Tag("Links", "Downloads for people without an API key, for a while."),
    Tag("Webhooks", "Calls to addresses of your own, signed and retried (OpenAI's wire)."),
    Tag("Chat", "Conversations with base models and trained ones (OpenAI's wire)."),
    Tag("Live", "Server-Sent Events that resume."),
    Tag("Events", "Credentials with which your own programs subscribe to events on NATS."),
    Tag("People", "Members and their roles, API keys, and the log of who changed what."),
    Tag("Health", "For operators; no key needed."),
)


JSON = "application/json"
TEXT = {"type": "string"}
SAID: dict[str, Any] = {
    "anyOf": [
        TEXT,
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"const": "text"}, "text": TEXT},
                "required": ["type", "text"],
            },
        },
    ]
}
"""What a message of a chat may say."""

OTHER_ANSWERS: dict[str, dict[str, Any]] = {
    "createChatCompletion": {"text/event-stream": {}},
    "listFineTuningJobMetrics": {"text/csv": TEXT},
    "retrieveFineTuningJobReport": {JSON: {"type": "object"}},
}
"""Answers in another form than the one a call's type tells of, by operation."""


def config() -> OpenAPIConfig:
    """Return what is the same for every route."""
    return OpenAPIConfig(
        title="Woodshed",
        version="1.0.0",
        summary="From an organisation's own words to fine-tuned models whose improvement is proven",
        license=License("Apache-2.0", identifier="Apache-2.0"),
        tags=list(TAGS),
        path="/",
        render_plugins=[Strict(path="/openapi.json")],
        security=[{"key": []}],
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="An API key: wsk-XXXXXXXX-…")
            }
        ),
    )


class Strict(JsonRenderPlugin):
    """Serves the description with what the framework cannot say of our bodies."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the description as JSON."""
        return super().render(request, strict(openapi_schema))


def strict(description: dict[str, Any]) -> dict[str, Any]:
    """Say of bodies exactly what msgspec takes, and what else the framework does not know of calls and answers."""
    operations = [each for methods in description["paths"].values() for each in methods.values()]
    schemas = description["components"]["schemas"]
    schemas |= {name: schema for name, schema in _bodies().items() if name in schemas}
    _say_of_chats_and_links(schemas)
    for each in operations:
        _say_what_may_be_left_out(each)
        _say_that_a_body_may_be_too_slow(each)
        _say_what_is_answered(each)
    return description


def _say_of_chats_and_links(schemas: dict[str, Any]) -> None:
    for name, values in NEUTRAL.items():
        schemas["ChatWish"]["properties"][name] = {"enum": [*values, None]}
    turn = schemas["WishedTurn"]
    for name, values in UNREADABLE.items():
        turn["properties"][name] = {"enum": [*values, None]}
    turn["properties"] |= {"role": {"type": "string", "enum": list(ROLES)}, "content": SAID}
    turn["required"] = ["role", "content"]
    schemas["LinkWish"]["oneOf"] = [_only(*names) for names in LEADS_TO]


def _say_what_may_be_left_out(operation: dict[str, Any]) -> None:
    """Say that a body need not come where null does as well."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        if {"type": "null"} in media["schema"].get("oneOf", ()):
            operation["requestBody"]["required"] = False


def _say_that_a_body_may_be_too_slow(operation: dict[str, Any]) -> None:
    if "requestBody" in operation:
        operation["responses"]["408"] = operation["responses"]["400"] | {"description": EXPLAINED[408]}


def _say_what_is_answered(operation: dict[str, Any]) -> None:
    """Say in which other form a call answers when it is asked to; the framework calls that a choice of anything."""
    if other := OTHER_ANSWERS.get(operation["operationId"]):
        content = operation["responses"]["200"]["content"]
        if choices := content[JSON]["schema"].get("oneOf"):
            content[JSON]["schema"] = choices[0]
        content |= {media: {"schema": schema} for media, schema in other.items()}


def _bodies() -> dict[str, Any]:
    """Describe every body, and what is in one."""
    return msgspec.json.schema_components(list(_below(Wish)), ref_template="#/components/schemas/{name}")[1]


def _below(kind: type) -> Iterator[type]:
    body: type
    for body in kind.__subclasses__():
        yield body
        yield from _below(body)


def _only(*names: str) -> dict[str, Any]:
    others = {other for others in LEADS_TO for other in others} - set(names)
    return {
        "required": list(names),
        "properties": {name: {"type": "string"} for name in names}
        | {name: {"type": "null"} for name in sorted(others)},
    }


def document() -> dict[str, Any]:
    """Return the description as it is served at /openapi.json, without any server."""
    from services.gateway.app import described

    return described()
