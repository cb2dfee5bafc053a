"""The three streams and one durable consumer per service: made by one step, checked by all.

No service creates or changes a stream or a durable. A durable that exists with another
configuration would be reused silently, so a service compares before it starts.
"""

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    PersistMode,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from contracts.base import pattern_of
from contracts.catalogue import SERVICES, heard_by
from libs.errors import Conflict

EVENTS = "EVENTS"
TELEMETRY = "TELEMETRY"
DEADLETTERS = "DEADLETTERS"

HOUR = 3600.0
ACK_WAIT = 30.0
MAX_MESSAGE = 1_000_000


def streams() -> tuple[StreamConfig, ...]:
    """EVENTS keeps facts for ever, TELEMETRY forgets after three days, DEADLETTERS after ninety."""
    return (
        StreamConfig(
            name=EVENTS,
            description="Every fact, written only by outboxes",
            subjects=["evt.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            duplicate_window=600.0,
            max_msg_size=MAX_MESSAGE,
            deny_delete=True,
            allow_atomic=True,
        ),
        StreamConfig(
            name=TELEMETRY,
            description="Progress and measurements; may lose the newest on a crash",
            subjects=["tel.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=72 * HOUR,
            duplicate_window=120.0,
            max_bytes=1_000_000_000,
            max_msg_size=MAX_MESSAGE,
            persist_mode=PersistMode.ASYNC,
        ),
        StreamConfig(
            name=DEADLETTERS,
            description="Messages set aside, with the reason in their headers",
            subjects=["dead.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            max_age=90 * 24 * HOUR,
            duplicate_window=120.0,
            max_msg_size=2 * MAX_MESSAGE,
        ),
    )


def durables() -> tuple[ConsumerConfig, ...]:
    """One durable consumer for each service that reacts to facts, filtered to what it hears."""
    return tuple(
        ConsumerConfig(
            durable_name=service,
            description=f"What {service} reacts to",
            filter_subjects=sorted({pattern_of(fact.kind) for fact in heard_by(service)}),
            ack_policy=AckPolicy.EXPLICIT,
            deliver_policy=DeliverPolicy.ALL,
            ack_wait=ACK_WAIT,
            max_deliver=-1,
            max_ack_pending=256,
        )
        for service in SERVICES
        if heard_by(service)
    )


async def provision(js: JetStreamContext) -> None:
    """Create what is missing and bring the rest to this version's configuration. Safe to repeat."""
    for config in streams():
        try:
            await js.stream_info(str(config.name))
            await js.update_stream(config)
        except NotFoundError:
            await js.add_stream(config)
    for durable in durables():
        await js.add_consumer(EVENTS, durable)


async def verify(js: JetStreamContext, service: str) -> None:
    """Raise ``Conflict`` if what this service relies on is missing or differs."""
    remedy = "Run `python -m deploy.provision` of this version, then start again."
    for config in streams():
        try:
            there = (await js.stream_info(str(config.name))).config
        except NotFoundError as error:
            raise Conflict(f"The stream {config.name} does not exist. {remedy}") from error
        for name in ("subjects", "max_age", "duplicate_window", "allow_atomic"):
            wanted, found = getattr(config, name), getattr(there, name)
            if wanted is not None and wanted != found:
                raise Conflict(f"Stream {config.name}: {name} is {found}, this program needs {wanted}. {remedy}")
    for durable in durables():
        if durable.durable_name != service:
            continue
        try:
            consumer = (await js.consumer_info(EVENTS, service)).config
        except NotFoundError as error:
            raise Conflict(f"The durable consumer {service} does not exist. {remedy}") from error
        if sorted(consumer.filter_subjects or [consumer.filter_subject or ""]) != durable.filter_subjects:
            raise Conflict(f"The durable consumer {service} hears other facts than this program. {remedy}")
        if consumer.ack_wait != durable.ack_wait:
            raise Conflict(f"The durable consumer {service} waits {consumer.ack_wait} s for acknowledgement. {remedy}")
