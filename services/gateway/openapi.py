"""How the API describes itself: OpenAPI 3.1, made from the routes."""

from collections.abc import Iterator
from typing import Any

from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme, Tag

from services.gateway.domain.chat import NEUTRAL, ROLES, UNREADABLE
from services.gateway.domain.links import LEADS_TO
from services.gateway.domain.wishes import Wish

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
    """Say that unknown keys are refused, which values of a chat change nothing, and what a link may lead to."""
    schemas = description["components"]["schemas"]
    for name in _bodies(Wish):
        if name in schemas:
            schemas[name]["additionalProperties"] = False
    for name, values in NEUTRAL.items():
        schemas["ChatWish"]["properties"][name] = {"enum": [*values, None]}
    for name in UNREADABLE:
        schemas["WishedTurn"]["properties"][name] = {"type": "null"}
    schemas["WishedTurn"]["properties"]["role"] = {"type": "string", "enum": list(ROLES)}
    schemas["LinkWish"]["oneOf"] = [_only(*names) for names in LEADS_TO]
    return description


def _bodies(kind: type) -> Iterator[str]:
    body: type
    for body in kind.__subclasses__():
        yield body.__name__
        yield from _bodies(body)


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
