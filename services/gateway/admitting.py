"""Who may connect to NATS from outside: the broker asks here about everybody it does not know itself.

The platform's own programs are known to the broker, so they come in while no gateway runs. Credentials that do not hold
any more are looked for every few seconds, and at once when some were revoked; their connections are ended.
"""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import nats
import structlog
from msgspec import Struct
from nats.errors import Error as NatsError

from libs.bus import Bus, issuing
from libs.bus.permissions import ADMISSIONS, DOORKEEPER, outsider
from libs.db import DB_AWAY, Database
from libs.waking import rest
from services.gateway.domain import credentials, sessions
from services.gateway.queries import credentials as queries
from services.gateway.settings import Settings

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

log = structlog.get_logger()

AT_ONCE = 2
EVERY = 10.0
PATIENCE = 2.0
MOST_CONNECTIONS = 65_536


class Connection(Struct, frozen=True):
    """A connection as the server numbers it."""

    cid: int
    authorized_user: str = ""


class _Connections(Struct):
    server_id: str
    connections: list[Connection] = []


class _Told(Struct):
    data: _Connections


class Doorkeeper:
    """Lets programs in that hold credentials, and shows out those whose credentials ended."""

    def __init__(self, db: Database, bus: Bus, settings: Settings) -> None:
        self._db = db
        self._bus = bus
        self._settings = settings
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._look = asyncio.Event()

    def look(self) -> None:
        """Have connections looked through now."""
        self._look.set()

    async def admit(self) -> None:
        """Answer the broker until cancelled."""
        if not self._settings.signing_key:
            return
        issuer = issuing.Issuer(self._settings.signing_key)
        async with asyncio.TaskGroup() as tasks:
            asked = await self._bus.nc.subscribe(ADMISSIONS, queue="gateway")
            async for message in asked.messages:
                tasks.create_task(self._answer(message, issuer))

    async def watch(self) -> None:
        """End the connections of credentials that do not hold any more, until cancelled."""
        if not self._settings.signing_key:
            return
        client = await self._enter()
        try:
            while True:
                self._look.clear()
                try:
                    await self._end_void(client)
                except (*DB_AWAY, NatsError, msgspec.MsgspecError) as error:
                    log.warning("connections not looked through", error=repr(error))
                await rest(self._look, EVERY)
        finally:
            await client.close()

    async def _enter(self) -> "Client":
        """Connect as the one user of the system account; a broker that does not know it yet is waited for."""
        return await nats.connect(
            self._settings.nats_url,
            user=DOORKEEPER,
            password=self._settings.nats_password,
            name=DOORKEEPER,
            inbox_prefix=f"_INBOX.{DOORKEEPER}",
            max_reconnect_attempts=-1,
            reconnect_time_wait=2,
            error_cb=_report,
        )

    async def _answer(self, message: "Msg", issuer: issuing.Issuer) -> None:
        try:
            asked = issuing.read(message.data)
            async with self._turns:
                row = await self._found(asked.nats.connect_opts)
        except (*DB_AWAY, msgspec.MsgspecError, ValueError, IndexError) as error:
            log.warning("nobody admitted", error=repr(error))
            return
        user = asked.nats.connect_opts.user
        allowed, until = (outsider(row["tenant"], user), row["expires_at"]) if row else (None, None)
        with contextlib.suppress(NatsError):
            await message.respond(issuer.answer(asked, allowed, until, datetime.now(UTC)))

    async def _found(self, presented: issuing.Presented) -> asyncpg.Record | None:
        if not credentials.looks_right(presented.user, presented.password):
            return None
        digest = sessions.digest(self._settings.key_pepper, credentials.PURPOSE, presented.password)
        async with self._db.across_tenants() as tx:
            return await queries.admit(tx, presented.user, digest)

    async def _end_void(self, client: "Client") -> None:
        """Look through the connections of every server; each one of a cluster answers for itself."""
        inbox = client.new_inbox()
        heard = await client.subscribe(inbox)
        try:
            wish = msgspec.json.encode({"auth": True, "limit": MOST_CONNECTIONS})
            await client.publish("$SYS.REQ.SERVER.PING.CONNZ", wish, reply=inbox)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    async for message in heard.messages:
                        await self._look_through(client, msgspec.json.decode(message.data, type=_Told).data)
        finally:
            await heard.unsubscribe()

    async def _look_through(self, client: "Client", server: _Connections) -> None:
        outside = [each for each in server.connections if each.authorized_user.startswith(f"{credentials.PREFIX}-")]
        if not outside:
            return
        async with self._db.across_tenants() as tx:
            holding = await queries.holding(tx, [each.authorized_user for each in outside])
        for each in outside:
            if each.authorized_user not in holding:
                who, answer = msgspec.json.encode({"cid": each.cid}), client.new_inbox()  # unanswered, it does nothing
                await client.publish(f"$SYS.REQ.SERVER.{server.server_id}.KICK", who, reply=answer)
                log.info("connection ended", credential=each.authorized_user)


async def _report(error: Exception) -> None:
    log.warning("nats said no", error=str(error) or type(error).__name__)
