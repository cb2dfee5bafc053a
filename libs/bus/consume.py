"""How a message is taken in: decode, claim, react, commit, and only then acknowledge.

- cannot be decoded, or told by a service that does not own it → set aside at once
- an unknown newer kind → acknowledged and counted
- already claimed → acknowledged, no second effect
- ``Busy``, the database away, or a transaction that stood in another's way → comes back after a delay, as often as
  it takes
- ``Rejected`` or a bug → five tries, then set aside with its traceback; nothing is dropped
"""

import asyncio
import contextlib
import traceback
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import nats.errors
import structlog
from faststream import AckPolicy
from faststream.nats import JStream, PullSub
from opentelemetry import trace
from opentelemetry.propagate import extract
from prometheus_client import Counter, Histogram

from contracts.base import Event, Question, Refusal, encode
from contracts.catalogue import BY_TYPE
from libs.bus import streaming
from libs.bus.connection import Bus
from libs.bus.router import Answer, Reaction, Router
from libs.bus.streams import EVENTS
from libs.db import Database
from libs.errors import Busy, WoodshedError

if TYPE_CHECKING:
    from faststream.nats import NatsMessage
    from nats.aio.msg import Msg

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)

TRIES = 5
DELAYS = (0.2, 1.0, 5.0, 15.0)
PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

taken = Counter("woodshed_facts_total", "Facts taken in", ["service", "type", "outcome"])
seconds = Histogram("woodshed_reaction_seconds", "Time of one reaction", ["service", "type"])


class Unreadable(Exception):
    """The message is no fact we can take: why."""


class Consumer:
    """Feeds a service's router from its durable and its questions."""

    def __init__(self, router: Router, bus: Bus, database: Database) -> None:
        self.router = router
        self.bus = bus
        self.database = database
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Subscribe to the durable and to every question this service answers; the broker knows of it on return."""
        if self.router.reactions:
            subscriber = self.bus.broker.subscriber(
                "evt.>",
                durable=self.router.service,
                stream=JStream(EVENTS, declare=False),
                pull_sub=PullSub(batch_size=1, timeout=5.0),
                ack_policy=AckPolicy.MANUAL,
                inbox_prefix=f"{self.bus.inbox}.".encode(),
                decoder=_as_it_came,
            )
            subscriber(self._hear)
        for answer in self.router.answers_to.values():
            asked = self.bus.broker.subscriber(
                answer.kind.subject, queue=self.router.service, decoder=_as_it_came, no_reply=True
            )
            asked(self._replier(answer))
        await self.bus.broker.start()
        for _ in range(2):  # nats-py writes a flush's ping before what is pending: only the second is after it
            await self.bus.nc.flush()

    async def _hear(self, message: "NatsMessage") -> None:
        raw: Msg = message.raw_message
        headers = raw.headers or {}
        kind = headers.get("ce-type", "")
        reaction = self.router.reactions.get(kind)
        if reaction is None:
            known = kind in BY_TYPE
            outcome = "ignored" if known else "unknown"
            taken.labels(self.router.service, kind if known else "unknown", outcome).inc()
            await raw.ack()
            return
        with tracer.start_as_current_span(
            f"react {kind}", context=extract(headers), attributes={"messaging.system": "nats"}
        ):
            await self._settle(raw, reaction, headers)

    async def _settle(self, raw: "Msg", reaction: Reaction, headers: dict[str, str]) -> None:
        kind = headers["ce-type"]
        tries = raw.metadata.num_delivered or 1
        try:
            with seconds.labels(self.router.service, kind).time():
                first = await self._react(reaction, _decode(raw.data, reaction, headers), headers["ce-id"])
        except Unreadable as error:
            await self._set_aside(raw, str(error))
        except Busy as error:
            log.info("comes back", type=kind, error=str(error))
            await raw.nak(delay=error.after)
        except Exception as error:
            if passes(error):
                log.info("comes back", type=kind, error=repr(error))
                await raw.nak(delay=_delay(tries))
                return
            log.warning("reaction failed", type=kind, tries=tries, error=repr(error), exc_info=error)
            if tries >= TRIES:
                await self._set_aside(raw, traceback.format_exc())
            else:
                await raw.nak(delay=_delay(tries))
        else:
            taken.labels(self.router.service, kind, "done" if first else "repeated").inc()
            await raw.ack()

    async def _react(self, reaction: Reaction, event: Event, event_id: str) -> bool:
        """Return whether this was the first time. The claim and the effect are one transaction."""
        scope = self.database.across_tenants() if reaction.across_tenants else self.database.transaction(event.tenant)
        async with scope as tx:
            if not await tx.claim(event_id):
                return False
            with structlog.contextvars.bound_contextvars(
                tenant=event.tenant, job=getattr(event, "job_id", None), fact=event.__struct_config__.tag
            ):
                await reaction.handler(event, tx, **self.router.given(reaction.needs))
        return True

    async def _set_aside(self, raw: "Msg", reason: str) -> None:
        """Keep the message with its reason where an operator finds it, then stop its redelivery."""
        headers = {name: value for name, value in (raw.headers or {}).items() if not name.startswith("Nats-")}
        headers |= {"woodshed-reason": " | ".join(reason.splitlines())[:4000], "woodshed-subject": raw.subject}
        await self.bus.js.publish(
            f"dead.{self.router.service}.{raw.subject}", raw.data, headers=headers, timeout=5, stream="DEADLETTERS"
        )
        log.error("set aside", subject=raw.subject, reason=reason.strip().splitlines()[-1:])
        taken.labels(self.router.service, "unreadable", "set_aside").inc()
        await raw.term()

    async def stop(self) -> None:
        """Break off the answers that still take time; their askers are told to come back."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def _replier(self, answer: Answer) -> Any:
        async def reply(message: "NatsMessage") -> None:
            raw: Msg = message.raw_message
            with tracer.start_as_current_span(f"answer {answer.kind.__name__}", context=extract(raw.headers or {})):
                await self._reply(raw, answer)

        async def reply_meanwhile(message: "NatsMessage") -> None:
            task = asyncio.create_task(reply(message))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

        return reply_meanwhile if answer.slow else reply

    async def _reply(self, raw: "Msg", answer: Answer) -> None:
        """Send the answer, or say why there is none."""
        try:
            question = msgspec.json.decode(raw.data, type=answer.kind)
            given = self.router.given(answer.needs)
            if answer.streamed:
                await streaming.send(self.bus.nc, raw.reply, answer.handler(question, self.database, **given))
                return
            said = await self._answer(question, answer, given)
        except asyncio.CancelledError:
            with contextlib.suppress(nats.errors.Error):
                await self._say(raw, _STOPPING)
            raise
        except Exception as error:
            said = _refusal(error, answer)
        await self._say(raw, said)

    async def _answer(self, question: Question, answer: Answer, given: dict[str, object]) -> Any:
        if answer.slow:
            return await answer.handler(question, self.database, **given)
        async with self.database.transaction(question.tenant) as tx:
            return await answer.handler(question, tx, **given)

    async def _say(self, raw: "Msg", said: Any) -> None:
        if raw.reply:
            await self.bus.nc.publish(raw.reply, encode(said))


_STOPPING = Refusal(
    code="busy", message="The service that answers is being stopped. Try again in a moment.", status=503
)


def _refusal(error: Exception, answer: Answer) -> Refusal:
    if isinstance(error, msgspec.DecodeError):
        return Refusal(code="bad_question", message=f"The question does not fit its contract: {error}")
    if isinstance(error, WoodshedError):
        message = f"{error.message} {error.fix}" if error.fix else error.message
        return Refusal(code=error.code, message=message, status=error.status, field=error.field)
    log.error("question failed", type=answer.kind.__name__, exc_info=error)
    return Refusal(code="internal", message="Something went wrong while answering; see the log.", status=500)


def _decode(body: bytes, reaction: Reaction, headers: dict[str, str]) -> Event:
    owner = BY_TYPE[headers["ce-type"]].owner
    if headers.get("ce-source") != f"/woodshed/{owner}":
        raise Unreadable(f"{headers['ce-type']} belongs to {owner}, but {headers.get('ce-source')} told it")
    if not headers.get("ce-id"):
        raise Unreadable("the fact has no id")
    try:
        return msgspec.json.decode(body, type=reaction.kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Unreadable(f"{headers['ce-type']} cannot be decoded: {error}") from error


def passes(error: Exception) -> bool:
    """Say whether an error is over by itself, so that the fact is as good as ever. What cannot be written never is."""
    return isinstance(error, PASSING) and not isinstance(error, asyncpg.DataError)


def _delay(tries: int) -> float:
    return DELAYS[min(tries, len(DELAYS)) - 1]


async def _as_it_came(message: "NatsMessage") -> "NatsMessage":
    return message
