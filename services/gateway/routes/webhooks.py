"""Webhook endpoints on OpenAI's wire, and what came of every call (ours).

The gateway keeps what people wish and tells it; the notifier calls. A secret is shown in the one answer that makes it.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from asyncpg import Record
from litestar import Request, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, Struct

from contracts.base import new_id
from contracts.webhooks import (
    EVENT_TYPES,
    Deliveries,
    ListDeliveries,
    WebhookRemoved,
    WebhookReplayAsked,
    WebhookTried,
)
from libs.db import Transaction
from libs.errors import Conflict, NotFound, Rejected
from libs.signing import webhook_secret
from services.gateway.auth import Caller
from services.gateway.dependencies import Db, TheBus, TheCaller, TheSettings, Tx
from services.gateway.domain import webhooks
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.domain.repeats import claim_of
from services.gateway.listing import up_to
from services.gateway.once import once
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import webhooks as queries
from services.gateway.questions import ask
from services.gateway.settings import Settings
from services.gateway.trail import note


class EventTypeList(Struct, kw_only=True):
    """The event types an endpoint can be called for."""

    data: list[str]
    object: Literal["list"] = "list"


@post(
    "/",
    operation_id="createWebhookEndpoint",
    opt=needs("webhooks.write"),
    summary="Make an endpoint",
    status_code=200,
    responses=documented(409, 422),
)
async def create_endpoint(
    request: Request[Any, Any, Any],
    data: JSONBody[webhooks.WebhookWish],
    caller: TheCaller,
    tx: Tx,
    settings: TheSettings,
) -> webhooks.WebhookEndpoint:
    """Have an address called when something ends. The signing secret is in this answer and in no later one."""
    key = _key(settings)
    claim = claim_of(request.headers, caller.prefix, "POST", request.url.path, await request.body())
    made = await once(tx, claim, webhooks.WebhookEndpoint, partial(_add, data, caller, tx, settings))
    made.signing_secret = webhook_secret(key, made.id, 1)
    return made


@get(
    "/",
    operation_id="listWebhookEndpoints",
    opt=needs("webhooks.read"),
    summary="List endpoints",
    responses=documented(409, 422),
)
async def list_endpoints(
    tx: Tx,
    settings: TheSettings,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(100)] = 20,
) -> Page[webhooks.WebhookEndpoint]:
    """List the endpoints, the latest first."""
    checked_limit(limit, 100)
    key = _key(settings)
    rows = await queries.newest_first(tx, after, limit + 1)
    return page_of([webhooks.endpoint_of(row, key) for row in rows], [row["webhook_id"] for row in rows], limit)


@get(
    "/{webhook:str}",
    operation_id="retrieveWebhookEndpoint",
    opt=needs("webhooks.read"),
    summary="Describe an endpoint",
    responses=documented(404, 409),
)
async def retrieve_endpoint(webhook: FromPath[str], tx: Tx, settings: TheSettings) -> webhooks.WebhookEndpoint:
    """Describe an endpoint, and whether it is called."""
    return webhooks.endpoint_of(await _the_endpoint(tx, webhook), _key(settings))


@post(
    "/{webhook:str}",
    operation_id="updateWebhookEndpoint",
    opt=needs("webhooks.write"),
    summary="Change an endpoint",
    status_code=200,
    responses=documented(404, 409, 422),
)
async def update_endpoint(
    webhook: FromPath[str], data: JSONBody[webhooks.WebhookChange], caller: TheCaller, tx: Tx, settings: TheSettings
) -> webhooks.WebhookEndpoint:
    """Change what is given; enabling an endpoint again sends what waits for it."""
    row = await _the_endpoint(tx, webhook)
    url = row["url"] if data.url is UNSET else _checked_url(data.url, settings)
    events = list(row["events"]) if data.event_types is UNSET else webhooks.checked_events(data.event_types)
    row = await queries.change(
        tx,
        webhook,
        row["name"] if data.name is UNSET else data.name,
        url,
        events,
        row["hex_signature"] if data.laravel_signature is UNSET else data.laravel_signature,
        row["enabled"] if data.enabled is UNSET else data.enabled,
    )
    await _tell(tx, row)
    await note(tx, caller, "webhook.changed", webhook, changed=webhooks.named_in(data))
    return webhooks.endpoint_of(row, _key(settings))


@delete(
    "/{webhook:str}",
    operation_id="deleteWebhookEndpoint",
    opt=needs("webhooks.write"),
    summary="Remove an endpoint",
    status_code=200,
    responses=documented(404),
)
async def delete_endpoint(webhook: FromPath[str], caller: TheCaller, tx: Tx) -> webhooks.DeletedWebhookEndpoint:
    """Call an address no more."""
    await _the_endpoint(tx, webhook)
    await queries.remove(tx, webhook)
    await tx.tell(WebhookRemoved(tenant=tx.tenant, at=datetime.now(UTC), webhook_id=webhook))
    await note(tx, caller, "webhook.removed", webhook)
    return webhooks.DeletedWebhookEndpoint(id=webhook)


@post(
    "/{webhook:str}/rotate_secret",
    operation_id="rotateWebhookEndpointSecret",
    opt=needs("webhooks.write"),
    summary="Give an endpoint a new secret",
    status_code=200,
    responses=documented(404, 409),
)
async def rotate_secret(
    webhook: FromPath[str],
    caller: TheCaller,
    tx: Tx,
    settings: TheSettings,
    data: JSONBody[webhooks.RotationWish | None] = None,
) -> webhooks.WebhookEndpoint:
    """Make the next secret and show it once. The old one ends now, or signs beside the new one for 24 hours."""
    await _the_endpoint(tx, webhook)
    until = webhooks.next_secret_until(data or webhooks.RotationWish(), datetime.now(UTC))
    row = await queries.rotate(tx, webhook, until)
    await _tell(tx, row)
    await note(tx, caller, "webhook.secret_rotated", webhook, number=row["secret_number"])
    shown = webhooks.endpoint_of(row, _key(settings))
    shown.signing_secret = webhook_secret(_key(settings), webhook, row["secret_number"])
    return shown


@post(
    "/{webhook:str}/test",
    operation_id="testWebhookEndpoint",
    opt=needs("webhooks.write"),
    summary="Send a sample now",
    status_code=200,
    responses=documented(404, 409, 422, 503),
)
async def test_endpoint(
    webhook: FromPath[str], data: JSONBody[webhooks.TrialWish], caller: TheCaller, db: Db, bus: TheBus
) -> webhooks.WebhookTestResult:
    """Call the endpoint with a sample, signed like a real event, and say what it answered."""
    [event_type] = webhooks.checked_events([data.event_type])
    async with db.transaction(caller.tenant) as tx:
        row = await _the_endpoint(tx, webhook)
    answered = await ask(bus, webhooks.trial_of(row, event_type), WebhookTried)
    return webhooks.WebhookTestResult(
        webhook_endpoint_id=webhook, event_type=event_type, status_code=answered.attempt.status_code
    )


@get(
    "/{webhook:str}/deliveries",
    operation_id="listWebhookEndpointDeliveries",
    opt=needs("webhooks.read"),
    summary="What was sent there",
    responses=documented(404, 422, 503),
)
async def list_deliveries(
    webhook: FromPath[str],
    caller: TheCaller,
    db: Db,
    bus: TheBus,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(100)] = 20,
) -> Page[webhooks.WebhookDelivery]:
    """List the events sent to an endpoint with every call they took, the latest event first."""
    checked_limit(limit, 100)
    async with db.transaction(caller.tenant) as tx:
        await _the_endpoint(tx, webhook)
    question = ListDeliveries(tenant=caller.tenant, webhook_id=webhook, after=after or "", limit=limit)
    found = await ask(bus, question, Deliveries)
    shown = [webhooks.delivery_of(each) for each in found.deliveries]
    page = page_of(shown, [each.id for each in shown], limit)
    page.has_more = found.has_more
    return page


@post(
    "/{webhook:str}/deliveries/{delivery:str}/replay",
    operation_id="replayWebhookEndpointDelivery",
    opt=needs("webhooks.write"),
    summary="Send an event again",
    status_code=200,
    responses=documented(404, 503),
)
async def replay_delivery(
    webhook: FromPath[str], delivery: FromPath[str], caller: TheCaller, db: Db, bus: TheBus
) -> webhooks.WebhookDelivery:
    """Ask for an event to be sent once more, now, with the same id; the answer shows it as it was before."""
    async with db.transaction(caller.tenant) as tx:
        await _the_endpoint(tx, webhook)
    question = ListDeliveries(tenant=caller.tenant, webhook_id=webhook, delivery_id=delivery)
    [found] = (await ask(bus, question, Deliveries)).deliveries
    async with db.transaction(caller.tenant) as tx:
        wish = WebhookReplayAsked(
            tenant=caller.tenant, at=datetime.now(UTC), webhook_id=webhook, delivery_id=found.delivery_id
        )
        await tx.tell(wish)
        await note(tx, caller, "webhook.replay_asked", webhook, delivery=found.delivery_id)
    return webhooks.delivery_of(found)


@get(
    "/v1/webhook_event_types",
    operation_id="listWebhookEventTypes",
    opt=needs("webhooks.read"),
    summary="What an endpoint can be called for",
    tags=["Webhooks"],
    responses=documented(),
)
async def list_event_types() -> EventTypeList:
    """List the event types."""
    return EventTypeList(data=list(EVENT_TYPES))


router = Router(
    "/v1/webhook_endpoints",
    route_handlers=[
        create_endpoint,
        list_endpoints,
        retrieve_endpoint,
        update_endpoint,
        delete_endpoint,
        rotate_secret,
        test_endpoint,
        list_deliveries,
        replay_delivery,
    ],
    tags=["Webhooks"],
)


async def _add(
    data: webhooks.WebhookWish, caller: Caller, tx: Transaction, settings: Settings
) -> webhooks.WebhookEndpoint:
    if await queries.count(tx) >= webhooks.MOST_ENDPOINTS:
        raise Rejected(
            f"There are {webhooks.MOST_ENDPOINTS} endpoints already. Remove one, or give one more event types.",
            code="too_many_endpoints",
        )
    url, events = _checked_url(data.url, settings), webhooks.checked_events(data.event_types)
    row = await queries.add(tx, new_id("wh"), data.name, url, events, data.laravel_signature)
    await _tell(tx, row)
    await note(tx, caller, "webhook.made", row["webhook_id"], events=events)
    return webhooks.endpoint_of(row, settings.signing_key)


async def _tell(tx: Transaction, row: Record) -> None:
    told = await tx.tell(webhooks.set_fact(row, datetime.now(UTC)))
    await queries.told(tx, row["webhook_id"], told.version)


async def _the_endpoint(tx: Transaction, webhook_id: str) -> Record:
    row = await queries.get(tx, webhook_id)
    if row is None:
        raise NotFound(
            f"There is no webhook endpoint {webhook_id[:100]!r}.",
            fix="GET /v1/webhook_endpoints lists those there are.",
        )
    return row


def _checked_url(url: str, settings: Settings) -> str:
    return webhooks.checked_url(url, private_allowed=settings.webhook_private_networks)


def _key(settings: Settings) -> str:
    if not settings.signing_key:
        raise Conflict(
            "This installation has no WOODSHED_SIGNING_KEY, so its webhooks could not be signed.",
            code="webhooks_off",
            fix="Set it for gateway and notifier; docs/how-to/webhooks.md says how.",
        )
    return settings.signing_key
