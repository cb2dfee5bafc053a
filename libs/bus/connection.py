"""One connection to NATS for each process, through FastStream's broker.

A refused permission shows only in the error callback while the caller sees a time-out,
so it is logged there. Once the client gives up for good the process ends: the supervisor
(or the container engine) starts it afresh.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Awaitable
from typing import TYPE_CHECKING, TypeVar, Union

import msgspec
import nats.errors
import structlog
from faststream.nats import NatsBroker
from faststream.security import SASLPlaintext
from opentelemetry.propagate import inject

from contracts.base import Event, Question, Refusal, encode, subject_of
from libs.bus import streaming
from libs.errors import BadRequest, Busy, Conflict, Forbidden, NotFound, Rejected, WoodshedError
from libs.settings import ServiceSettings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js import JetStreamContext

log = structlog.get_logger()
A = TypeVar("A")
T = TypeVar("T")

_BY_STATUS: dict[int, type[Rejected]] = {400: BadRequest, 404: NotFound, 409: Conflict, 403: Forbidden}


async def answered(waiting: Awaitable[T]) -> T:
    """Await nats-py, whose wait_for (Python 3.11's) forgets a cancellation that comes together with the answer."""
    answer = await waiting
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError
    return answer


class Bus:
    """The service's line to the others."""

    def __init__(self, broker: NatsBroker, inbox: str) -> None:
        self.broker = broker
        self.inbox = inbox
        self._closed = False

    @classmethod
    async def connect(cls, settings: ServiceSettings, name: str) -> "Bus":
        """Connect as ``name`` (or the user the settings say); waits for a server that is still starting."""
        user = settings.nats_user or name
        inbox = f"_INBOX.{user}"
        broker = NatsBroker(
            settings.nats_url,
            security=SASLPlaintext(username=user, password=settings.nats_password),
            name=name,
            inbox_prefix=inbox,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=5,
            error_cb=_report,
            closed_cb=_leave,
            apply_types=False,
            logger=None,
        )
        await broker.connect()
        return cls(broker, inbox)

    @property
    def nc(self) -> "Client":
        """The plain NATS client underneath."""
        client: Client = self.broker.config.connection_state.connection
        return client

    @property
    def js(self) -> "JetStreamContext":
        """JetStream on the same connection, patient enough for a server that syncs each message."""
        return self.nc.jetstream(timeout=5)

    @property
    def connected(self) -> bool:
        """Whether the server can be reached right now."""
        return bool(self.nc.is_connected)

    async def publish_telemetry(self, event: Event) -> None:
        """Tell a measurement: no acknowledgement, dropped while the broker is away."""
        if self.connected:
            await self.nc.publish(subject_of(event), encode(event))

    async def ask(self, question: Question, answer: type[A], *, timeout: float) -> A:
        """Ask and wait at most ``timeout`` seconds.

        Raises what the answering service refused with (``Rejected`` or a kind of it), or
        ``Busy`` when nobody answered in time.
        """
        try:
            reply = await self.nc.request(question.subject, encode(question), timeout=timeout, headers=_trace_headers())
        except (TimeoutError, nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
            raise _unanswered(question, timeout) from error
        return _said(reply.data, answer)

    async def stream(self, question: Question, piece: type[A], *, silence: float) -> AsyncGenerator[A]:
        """Ask, and yield an answer that comes in pieces; closing this stops whoever answers.

        Raises what the answering service refused with, before or between pieces, or ``Busy`` when it says nothing for
        ``silence`` seconds.
        """
        messages = streaming.receive(
            self.nc, question.subject, encode(question), headers=_trace_headers(), silence=silence
        )
        try:
            async with contextlib.aclosing(messages):
                async for message in messages:
                    yield _said(message, piece)
        except (TimeoutError, nats.errors.TimeoutError, nats.errors.NoRespondersError) as error:
            raise _unanswered(question, silence) from error

    async def close(self) -> None:
        """Leave without ending the process. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self.nc._closed_cb = None
        await self.broker.stop()


def _trace_headers() -> dict[str, str] | None:
    headers: dict[str, str] = {}
    inject(headers)
    return headers or None


def _said(body: bytes, answer: type[A]) -> A:
    said: A | Refusal = msgspec.json.decode(body, type=Union[answer, Refusal])  # noqa: UP007
    if not isinstance(said, Refusal):
        return said
    if said.status == 503:
        raise Busy(said.message, code=said.code)
    if said.status >= 500:
        raise WoodshedError(said.message, code=said.code)
    raise _BY_STATUS.get(said.status, Rejected)(said.message, code=said.code, field=said.field)


def _unanswered(question: Question, seconds: float) -> Busy:
    service = question.subject.split(".")[1]
    return Busy(f"The {service} service did not answer within {seconds:g} s. Try again in a moment.")


async def _report(error: Exception) -> None:
    log.warning("nats said no", error=str(error) or type(error).__name__)


async def _leave() -> None:
    log.error("nats connection closed for good")
    os.kill(os.getpid(), signal.SIGTERM)
