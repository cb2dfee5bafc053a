"""What people may wish of a webhook endpoint, and how it is shown: OpenAI's wire, ours under ``woodshed``."""

from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import UNSET, Meta, Struct, UnsetType

from contracts.webhooks import EVENT_TYPES, Attempt, Delivery, TryWebhook, WebhookSet
from libs.addresses import why_inner
from libs.errors import Rejected
from libs.signing import webhook_secret
from services.gateway.domain.wishes import Wish

OVERLAP = timedelta(hours=24)
MOST_ENDPOINTS = 50

Name = Annotated[str, Meta(min_length=1, max_length=200, examples=["our site"])]
Url = Annotated[str, Meta(min_length=1, max_length=2048, examples=["https://hooks.example/woodshed"])]
EventType = Annotated[str, Meta(extra_json_schema={"enum": list(EVENT_TYPES)})]
EventTypes = Annotated[list[EventType], Meta(min_length=1, max_length=40, examples=[["fine_tuning.job.succeeded"]])]


class WebhookWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/webhook_endpoints``; ``laravel_signature`` is ours: one more header, plainer."""

    name: Name
    url: Url
    event_types: EventTypes
    laravel_signature: bool = False


class WebhookChange(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/webhook_endpoints/ID``: what is left out stays as it is.

    ``enabled`` is ours: false stops the calls, true starts them again, what waits first.
    """

    name: Name | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    event_types: EventTypes | UnsetType = UNSET
    laravel_signature: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class RotationWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST …/rotate_secret``. While the old secret is active, every call carries both signatures."""

    keep_old_secret_active_for_24_hours: bool = False


class TrialWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST …/test``."""

    event_type: EventType


class WebhookExtras(Struct, kw_only=True):
    """Ours: whether the endpoint is called, why not, how calls are signed, and until when the old secret signs too."""

    enabled: bool
    disabled_reason: str | None
    laravel_signature: bool
    old_secret_until: int | None


class WebhookEndpoint(Struct, kw_only=True, omit_defaults=False):
    """An endpoint. ``signing_secret`` is there only in the answer that makes it."""

    id: str
    name: str
    url: str
    event_types: list[str]
    created_at: int
    updated_at: int
    signing_secret_hint: str
    woodshed: WebhookExtras
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    signing_secret: str | UnsetType = UNSET


class DeletedWebhookEndpoint(Struct, kw_only=True):
    """An endpoint that is called no more."""

    id: str
    deleted: bool = True
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"


class WebhookTestResult(Struct, kw_only=True):
    """What an endpoint answered to a sample."""

    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True
    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"


class WebhookAttempt(Struct, kw_only=True):
    """One call; ``status_code`` is null when no answer came."""

    at: int
    status_code: int | None
    milliseconds: int
    error: str | None


class WebhookDelivery(Struct, kw_only=True):
    """One event on its way to one endpoint: waiting, delivered or failed."""

    id: str
    event_id: str
    event_type: str
    job: str
    status: str
    created_at: int
    next_try_at: int | None
    attempts: list[WebhookAttempt]
    object: Literal["webhook_endpoint.delivery"] = "webhook_endpoint.delivery"


def named_in(change: WebhookChange) -> list[str]:
    """Return the fields that a change is about."""
    return [name for name in change.__struct_fields__ if getattr(change, name) is not UNSET]


def checked_events(names: list[str]) -> list[str]:
    """Return the event types, each once; ``Rejected`` names one that never happens here."""
    for name in names:
        if name not in EVENT_TYPES:
            raise Rejected(
                f"{name[:100]!r} never happens here. Choose from: {', '.join(EVENT_TYPES)}.",
                code="unknown_event_type",
                field="event_types",
            )
    return list(dict.fromkeys(names))


def checked_url(url: str, *, private_allowed: bool, field: str = "url") -> str:
    """Return an address that looks as if it may be called; where its name leads is judged at each call."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _bad_url("cannot be read as an address", field) from None
    if not host or port == 0 or not url.isascii() or not url.isprintable() or " " in url:
        raise _bad_url("cannot be read as an address", field)
    if parts.scheme != "https" and not (private_allowed and parts.scheme == "http"):
        raise _bad_url("does not begin with https://", field)
    if "@" in parts.netloc or parts.fragment:
        raise _bad_url("carries a password or a fragment; a call is known by its signature", field)
    _refuse_inner(host, private_allowed, field)
    return url


def next_secret_until(wish: RotationWish, at: datetime) -> datetime | None:
    """Return until when the secret before a rotation still signs."""
    return at + OVERLAP if wish.keep_old_secret_active_for_24_hours else None


def set_fact(row: Any, at: datetime) -> WebhookSet:
    """Return the fact that describes an endpoint whole."""
    return WebhookSet(
        tenant=row["tenant"],
        at=at,
        webhook_id=row["webhook_id"],
        url=row["url"],
        events=tuple(row["events"]),
        secret_number=row["secret_number"],
        previous_until=row["previous_until"],
        hex_signature=row["hex_signature"],
        enabled=row["enabled"],
    )


def trial_of(row: Any, event_type: str) -> TryWebhook:
    """Return the question what an endpoint answers to a sample."""
    return TryWebhook(
        tenant=row["tenant"],
        webhook_id=row["webhook_id"],
        url=row["url"],
        event_type=event_type,
        secret_number=row["secret_number"],
        previous_until=row["previous_until"],
        hex_signature=row["hex_signature"],
    )


def endpoint_of(row: Any, key: str) -> WebhookEndpoint:
    """Show an endpoint, of its secret only the end."""
    secret = webhook_secret(key, row["webhook_id"], row["secret_number"])
    return WebhookEndpoint(
        id=row["webhook_id"],
        name=row["name"],
        url=row["url"],
        event_types=list(row["events"]),
        created_at=_seconds(row["created_at"]),
        updated_at=_seconds(row["updated_at"]),
        signing_secret_hint=f"whsec_…{secret[-4:]}",
        woodshed=WebhookExtras(
            enabled=row["enabled"],
            disabled_reason=row["disabled_reason"] or None,
            laravel_signature=row["hex_signature"],
            old_secret_until=_seconds(row["previous_until"]) if row["previous_until"] else None,
        ),
    )


def delivery_of(delivery: Delivery) -> WebhookDelivery:
    """Show a delivery with its calls."""
    return WebhookDelivery(
        id=delivery.delivery_id,
        event_id=delivery.event_id,
        event_type=delivery.event_type,
        job=delivery.job_id,
        status=delivery.state,
        created_at=_seconds(delivery.created_at),
        next_try_at=_seconds(delivery.due_at) if delivery.due_at else None,
        attempts=[_attempt_of(each) for each in delivery.attempts],
    )


def _attempt_of(attempt: Attempt) -> WebhookAttempt:
    return WebhookAttempt(
        at=_seconds(attempt.at),
        status_code=attempt.status_code or None,
        milliseconds=attempt.milliseconds,
        error=attempt.said or None,
    )


def _refuse_inner(host: str, private_allowed: bool, field: str) -> None:
    try:
        why = why_inner(str(ip_address(host)), private_allowed=private_allowed)
    except ValueError:
        why = "it is this machine" if host.lower().rstrip(".") == "localhost" and not private_allowed else ""
    if why:
        raise _bad_url(f"leads inside: {why}", field)


def _bad_url(why: str, field: str) -> Rejected:
    fix = "Give a public https:// address of your own."
    return Rejected(f"The {field} {why}.", code="bad_url", field=field, fix=fix)


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
