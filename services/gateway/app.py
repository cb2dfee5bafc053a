"""Where the gateway's parts are made and put together."""

import asyncio
from datetime import timedelta
from typing import Any

from asyncpg.exceptions import CharacterNotInRepertoireError, UntranslatableCharacterError
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.middleware import DefineMiddleware

from libs.errors import WoodshedError
from libs.service import App, Platform
from services.gateway import openapi, problems
from services.gateway.admitting import Doorkeeper
from services.gateway.auth import KeyAuth
from services.gateway.collecting import Collector
from services.gateway.dependencies import provided
from services.gateway.expiring import Expirer
from services.gateway.handlers import router
from services.gateway.limiting import Limiter
from services.gateway.live import Hub
from services.gateway.missed import Recaller
from services.gateway.outer_door import OuterDoor
from services.gateway.pacing import paced
from services.gateway.permitted import permitted
from services.gateway.progress import Progress
from services.gateway.routes import (
    audit,
    budgets,
    chat,
    checkpoints,
    credentials,
    datasets,
    estimates,
    events,
    files,
    health,
    invitations,
    jobs,
    keys,
    links,
    machines,
    members,
    models,
    recipients,
    reports,
    retries,
    sessions,
    trackers,
    uploads,
    webhooks,
)
from services.gateway.sealing import seal_what_lies_open, slack_seal
from services.gateway.serving import HttpServer
from services.gateway.settings import Settings
from services.gateway.signing import Signing
from services.gateway.strictness import strictly
from services.gateway.tracing import stamped, traced
from services.gateway.usage import LastUse


async def build(settings: Settings, platform: Platform) -> App:
    """Make the service: reactions, work loops, and the HTTP server as one of them."""
    await seal_what_lies_open(platform.db, slack_seal(settings))
    collecting = asyncio.Event()
    hub = Hub(platform.bus, settings.stream_backlog)
    progress = Progress(platform.bus, platform.db, hub)
    collector = Collector(platform.db, platform.storage, collecting)
    expirer = Expirer(platform.db, platform.storage)
    last_use = LastUse(platform.db, settings.last_use_seconds)
    doorkeeper = Doorkeeper(platform.db, platform.bus, settings)
    recaller = Recaller(platform.bus, hub, _limiter(settings))
    http = HttpServer(api(settings, platform, hub, last_use, doorkeeper), settings)
    work = [hub.run, progress.read, progress.write, collector.run, expirer.run, last_use.run]
    return App(
        router=router,
        work=[*work, doorkeeper.admit, doorkeeper.watch, OuterDoor(settings).run, recaller.run, http.run],
        resources={"collecting": collecting, "settings": settings, "progress": progress},
    )


def _limiter(settings: Settings) -> Limiter:
    return Limiter(settings.key_calls, settings.tenant_calls, settings.address_calls)


def api(settings: Settings, platform: Platform, hub: Hub, last_use: LastUse, doorkeeper: Doorkeeper) -> Litestar:
    """Make the HTTP application."""
    limiter = _limiter(settings)
    signing = Signing(platform.db, settings.key_pepper, timedelta(seconds=settings.session_seconds))
    return Litestar(
        route_handlers=[
            files.router(settings),
            uploads.router(settings),
            datasets.router,
            jobs.router,
            checkpoints.router,
            retries.router,
            reports.router,
            estimates.create_estimate,
            machines.list_machines,
            models.router,
            recipients.router,
            links.router,
            links.download,
            webhooks.router,
            webhooks.list_event_types,
            chat.create_chat_completion,
            events.router,
            credentials.router,
            keys.router,
            members.router,
            audit.router,
            budgets.router,
            trackers.router,
            sessions.router,
            invitations.router,
            health.router,
        ],
        dependencies=provided(settings, platform, hub, limiter, signing, doorkeeper),
        middleware=[
            traced,
            DefineMiddleware(paced, least=settings.body_bytes_per_second, patience=settings.body_patience_seconds),
            DefineMiddleware(KeyAuth, db=platform.db, pepper=settings.key_pepper, last_use=last_use),
        ],
        before_request=strictly,
        before_send=[stamped],
        guards=[limiter.limited, permitted],
        exception_handlers={
            WoodshedError: problems.from_error,
            HTTPException: problems.from_http,
            RecursionError: problems.from_nesting,
            CharacterNotInRepertoireError: problems.from_nul,
            UntranslatableCharacterError: problems.from_nul,
            Exception: problems.from_bug,
        },
        response_headers={"X-Content-Type-Options": "nosniff"},
        request_max_body_size=settings.max_body_bytes,
        openapi_config=openapi.config(),
        logging_config=None,
    )


def described() -> dict[str, Any]:
    """Return the OpenAPI document of routes that are not connected to anything."""
    settings = Settings(key_pepper="-" * 32)
    nothing: Any = None
    routes = api(settings, Platform(nothing, nothing, nothing), nothing, nothing, nothing)
    return openapi.strict(routes.openapi_schema.to_schema())
