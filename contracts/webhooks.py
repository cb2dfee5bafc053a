"""Webhooks: where an organisation wants to be called when something ends, and what came of each call.

The gateway tells what people wish of an endpoint, the notifier calls it. Signing secrets are in no fact: both
services compute them (:mod:`libs.signing`).
"""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from contracts.base import Count, Event, Question, Token

EventType = Annotated[str, Meta(pattern=r"^[a-z_]+(\.[a-z_]+)+$", max_length=80)]

EVENT_TYPES: tuple[EventType, ...] = (
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
    "woodshed.job.remarked",
    "woodshed.report.ready",
    "woodshed.report.failed",
)
"""What an endpoint can be called for: OpenAI's names where OpenAI has one, ours begin with ``woodshed``."""

Url = Annotated[str, Meta(max_length=2048)]


class WebhookSet(Event, frozen=True, kw_only=True, tag="webhook.set.v1"):
    """A person made or changed an endpoint: this is all of it. Of several the one with the largest version stands.

    ``secret_number`` counts the secrets it has had; the one before signs too until ``previous_until``.
    ``hex_signature`` adds the plain header that Laravel's webhook client reads.
    """

    subject: ClassVar[str] = "evt.{tenant}.webhook.{webhook_id}.set"

    webhook_id: Token
    url: Url
    events: tuple[EventType, ...]
    secret_number: Annotated[int, Meta(ge=1)] = 1
    previous_until: datetime | None = None
    hex_signature: bool = False
    enabled: bool = True


class WebhookRemoved(Event, frozen=True, kw_only=True, tag="webhook.removed.v1"):
    """A person does not want this endpoint called any more."""

    subject: ClassVar[str] = "evt.{tenant}.webhook.{webhook_id}.removed"

    webhook_id: Token


class WebhookReplayAsked(Event, frozen=True, kw_only=True, tag="webhook.replay_asked.v1"):
    """A person wants a delivery made once more, now, whatever came of it before."""

    subject: ClassVar[str] = "evt.{tenant}.webhook.{webhook_id}.replay_asked"

    webhook_id: Token
    delivery_id: Token


class WebhookDisabled(Event, frozen=True, kw_only=True, tag="webhook.disabled.v1"):
    """Nothing arrived there for days, or it said that it is gone: it is not called until a person enables it.

    It is about the endpoint as ``set_version`` described it, and no later one.
    """

    subject: ClassVar[str] = "evt.{tenant}.webhook.{webhook_id}.disabled"

    webhook_id: Token
    set_version: Count
    reason: str


class DeliverySucceeded(Event, frozen=True, kw_only=True, tag="delivery.succeeded.v1"):
    """The endpoint took the event."""

    subject: ClassVar[str] = "evt.{tenant}.delivery.{delivery_id}.succeeded"

    delivery_id: Token
    webhook_id: Token
    event_id: Token
    event_type: EventType
    tries: Count


class DeliveryFailed(Event, frozen=True, kw_only=True, tag="delivery.failed.v1"):
    """The endpoint did not take the event in three days; a person may ask for it to be sent again."""

    subject: ClassVar[str] = "evt.{tenant}.delivery.{delivery_id}.failed"

    delivery_id: Token
    webhook_id: Token
    event_id: Token
    event_type: EventType
    tries: Count
    reason: str


class Attempt(Struct, frozen=True, kw_only=True):
    """One call. ``status_code`` is 0 when no answer came; ``said`` is what went wrong, empty when nothing did."""

    at: datetime
    status_code: int
    milliseconds: Count
    said: str = ""


class Delivery(Struct, frozen=True, kw_only=True):
    """One event on its way to one endpoint. ``state`` is waiting, delivered or failed.

    ``due_at`` is when it is tried next; ``tries`` counts since it was owed or replayed, ``attempts`` are the
    latest calls of all, the first first.
    """

    delivery_id: Token
    event_id: Token
    event_type: EventType
    job_id: Token
    state: str
    tries: Count
    created_at: datetime
    due_at: datetime | None = None
    attempts: tuple[Attempt, ...] = ()


class ListDeliveries(Question, frozen=True, kw_only=True, tag="webhook.deliveries.v1"):
    """What was sent to this endpoint, the latest first? With ``delivery_id``: that one, or a refusal."""

    subject: ClassVar[str] = "ask.notifier.deliveries"

    webhook_id: Token
    after: str = ""
    delivery_id: str = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class Deliveries(Struct, frozen=True, kw_only=True, tag="webhook.deliveries_answer.v1"):
    """The answer to :class:`ListDeliveries`."""

    deliveries: tuple[Delivery, ...]
    has_more: bool = False


class TryWebhook(Question, frozen=True, kw_only=True, tag="webhook.try.v1"):
    """What does this endpoint answer to a sample of an event, right now? Nothing is written down."""

    subject: ClassVar[str] = "ask.notifier.try"

    webhook_id: Token
    url: Url
    event_type: EventType
    secret_number: Annotated[int, Meta(ge=1)]
    previous_until: datetime | None = None
    hex_signature: bool = False


class WebhookTried(Struct, frozen=True, kw_only=True, tag="webhook.try_answer.v1"):
    """The answer to :class:`TryWebhook`: the call as it went."""

    attempt: Attempt
