"""How the API describes itself: OpenAPI 3.1, made from the routes."""

from typing import Any

from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme, Tag

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
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        security=[{"key": []}],
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="An API key: wsk-XXXXXXXX-…")
            }
        ),
    )


def document() -> dict[str, Any]:
    """Return the description as it is served at /openapi.json, without any server."""
    from services.gateway.app import described

    return described()
