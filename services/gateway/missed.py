"""What outsiders missed: they ask on NATS, and are told the facts of their organisation in order.

The asker keeps its own place, the sequence of the last fact it dealt with, so nothing is kept here for it. The subject
of a question says who asks, because the broker lets nobody else ask there; where the answer goes is checked here.
"""

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import structlog
from msgspec import Raw
from nats.errors import Error as NatsError

from contracts.base import Refusal, encode
from contracts.outsiders import MISSED
from libs.bus import Bus
from libs.errors import BadRequest, TooMany, WoodshedError
from services.gateway.domain import credentials
from services.gateway.limiting import Limiter, check
from services.gateway.live import Hub, Message, Scope

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = structlog.get_logger()

MOST_WAITING = 8
"""Questions that one credential may have open."""


class Recaller:
    """Answers every outsider of this installation."""

    def __init__(self, bus: Bus, hub: Hub, limiter: Limiter) -> None:
        self._bus = bus
        self._hub = hub
        self._limiter = limiter
        self._open: Counter[str] = Counter()

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            asked = await self._bus.nc.subscribe(MISSED, queue="gateway")
            async for message in asked.messages:
                _, tenant, credential = message.subject.split(".")
                if credentials.may_be_answered(credential, message.reply):
                    tasks.create_task(self._answer(message, tenant, credential))

    async def _answer(self, message: "Msg", tenant: str, credential: str) -> None:
        self._open[credential] += 1
        try:
            said = await self._said(message.data, tenant, credential)
        finally:
            self._open[credential] -= 1
        with contextlib.suppress(NatsError):
            await message.respond(encode(said))

    async def _said(self, question: bytes, tenant: str, credential: str) -> credentials.Missed | Refusal:
        try:
            self._check_turn(tenant, credential)
            return await self._missed(_read(question), tenant)
        except WoodshedError as error:
            return credentials.refusal_of(error)
        except (NatsError, OSError) as error:
            log.warning("what was missed could not be read", error=repr(error))
            return Refusal(code="busy", message="The stream cannot be read now. Ask again in a moment.", status=503)

    def _check_turn(self, tenant: str, credential: str) -> None:
        check(self._limiter.count(key=credential, tenant=tenant))
        if self._open[credential] > MOST_WAITING:
            raise TooMany(f"These credentials wait for {MOST_WAITING} answers already. Wait for one of them.")

    async def _missed(self, ask: credentials.Ask, tenant: str) -> credentials.Missed:
        await self._hub.ready.wait()
        if ask.after is None:
            return credentials.Missed(facts=[], last=self._hub.seen, more=False)
        found, last = await self._hub.since(
            Scope(tenant), ask.after, ask.wait, enough=lambda found: _full(found, ask.limit)
        )
        facts = [_fact(each) for each in found[: ask.limit]]
        cut = len(found) > len(facts)
        return credentials.Missed(
            facts=facts, last=facts[-1].sequence if cut else last, more=cut or _full(found, ask.limit)
        )


def _read(question: bytes) -> credentials.Ask:
    try:
        return msgspec.json.decode(question, type=credentials.Ask)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadRequest(f"The question does not fit: {error}", code="bad_question") from error


def _full(found: list[Message], limit: int) -> bool:
    return len(found) >= limit or sum(len(each.body) for each in found) >= credentials.MOST_BYTES


def _fact(message: Message) -> credentials.Fact:
    return credentials.Fact(
        sequence=message.sequence or 0,
        id=message.identity,
        type=message.about.type,
        subject=message.subject,
        data=Raw(message.body),
    )
