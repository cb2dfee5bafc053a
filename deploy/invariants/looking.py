"""One look at a whole installation: the rows of every schema in one snapshot, and every fact told so far.

Rows are read first and the stream after them: a fact that left an outbox between the two is then seen twice, never
not at all. The login reads every schema and may write none.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import nats
from msgspec import Struct, field
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy

from contracts.base import Event
from contracts.catalogue import BY_TYPE, SERVICES
from deploy.invariants.queries import OUTBOX, TABLES, VERSIONS
from libs.bus.permissions import AUDITOR
from libs.bus.streams import DEADLETTERS, EVENTS
from libs.db.database import ALL_TENANTS
from libs.storage import Listed, Storage

TIMEOUT = 30.0
SET_TENANT = "SELECT set_config('app.tenant', $1, true)"
SUBJECTS = {EVENTS: "evt.>", DEADLETTERS: "dead.>"}


class Installation(Struct, frozen=True, kw_only=True):
    """Where everything of an installation is reached, with the auditor's logins."""

    database_url: str
    nats_url: str
    nats_password: str
    storage_url: str


class Told(Struct, frozen=True, kw_only=True):
    """A fact as it was told. ``sequence`` is its place in the stream, 0 while it waits in an outbox.

    ``event`` is ``None`` where the kind is not known to this version.
    """

    sequence: int
    id: str
    kind: str
    teller: str
    aggregate: str
    version: int
    event: Event | None


class Dead(Struct, frozen=True):
    """A message that was set aside, and why."""

    sequence: int
    subject: str
    reason: str


class Look(Struct):
    """Everything the invariants are about, at one moment.

    ``rows`` by table; ``facts`` and ``repeated`` (ids that stand in the stream more than once) over the whole past;
    ``vouched`` says for each object that something names which sha256 it should have, and what names it; ``hashes``
    what its bytes have; below a ``tolerated`` prefix objects need no row.
    """

    rows: dict[str, list[Any]] = field(default_factory=dict)
    facts: list[Told] = field(default_factory=list)
    repeated: list[Told] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    objects: dict[str, Listed] = field(default_factory=dict)
    vouched: dict[str, tuple[str, str]] = field(default_factory=dict)
    tolerated: tuple[str, ...] = ()
    hashes: dict[str, str] = field(default_factory=dict)

    def of(self, *kinds: type[Event]) -> list[Any]:
        """Return the facts of these kinds, in the order of the stream; what waits in an outbox comes last."""
        return [told.event for told in self.facts if isinstance(told.event, kinds)]


class Eyes:
    """Looks again and again; what can only grow (the stream) or never changes (an object's bytes) is read once."""

    def __init__(self, installation: Installation, database: Any, client: Client) -> None:
        self.storage = Storage.open(installation.storage_url)
        self.database = database
        self.js = client.jetstream(timeout=TIMEOUT)
        self.hashed: dict[tuple[str, int, object], str] = {}
        self._stream: list[Told] = []
        self._dead: list[Dead] = []
        self._read: dict[str, int] = {}

    async def look(self) -> Look:
        """Look at rows and streams."""
        async with self.database.transaction(isolation="repeatable_read", readonly=True):
            look = Look(rows=await read_rows(self.database))
        async for message in self._news(EVENTS):
            self._stream.append(told(message.headers or {}, message.subject, message.data, message.metadata))
        async for message in self._news(DEADLETTERS):
            reason = (message.headers or {}).get("woodshed-reason", "")
            self._dead.append(Dead(message.metadata.sequence.stream, message.subject, reason))
        look.dead = list(self._dead)
        seen: set[str] = set()
        for each in [*self._stream, *waiting(look.rows)]:
            if each.id not in seen:
                look.facts.append(each)
            elif each.sequence:
                look.repeated.append(each)
            seen.add(each.id)
        return look

    async def _news(self, stream: str) -> AsyncIterator[Any]:
        """Yield what a stream got since the last look."""
        async for message in messages(self.js, stream, after=self._read.get(stream, 0)):
            self._read[stream] = message.metadata.sequence.stream
            yield message


@asynccontextmanager
async def eyes(installation: Installation) -> AsyncIterator[Eyes]:
    """Connect as the auditor while inside."""
    database = await asyncpg.connect(installation.database_url, timeout=TIMEOUT)
    try:
        client = await nats.connect(
            installation.nats_url,
            user=AUDITOR,
            password=installation.nats_password,
            name=AUDITOR,
            inbox_prefix=f"_INBOX.{AUDITOR}".encode(),
            connect_timeout=5,
            max_reconnect_attempts=5,
        )
        try:
            yield Eyes(installation, database, client)
        finally:
            await client.close()
    finally:
        await asyncio.wait_for(database.close(), TIMEOUT)


async def read_rows(connection: Any) -> dict[str, list[Any]]:
    """Read every table the invariants speak of, over all tenants, in the transaction the caller began."""
    await connection.execute(SET_TENANT, ALL_TENANTS)
    found = {name: await connection.fetch(statement) for name, statement in TABLES.items()}
    for service in SERVICES:
        found[f"{service}.outbox"] = await connection.fetch(OUTBOX.format(schema=service))
        found[f"{service}.version"] = await connection.fetch(VERSIONS.format(schema=service))
    return found


async def messages(js: JetStreamContext, stream: str, *, after: int = 0) -> AsyncIterator[Any]:
    """Yield what a stream holds behind a sequence, in order, up to what was its end at the start."""
    state = (await js.stream_info(stream)).state
    if state.messages == 0 or state.last_seq <= after:
        return
    start = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1)
    heard = await js.subscribe(SUBJECTS[stream], stream=stream, config=start, ordered_consumer=True)
    try:
        while after < state.last_seq:
            message = await heard.next_msg(timeout=TIMEOUT)
            after = message.metadata.sequence.stream
            yield message
    finally:
        await heard.unsubscribe()


def waiting(rows: dict[str, list[Any]]) -> list[Told]:
    """Return the facts that wait in outboxes."""
    found = [row for service in SERVICES for row in rows[f"{service}.outbox"]]
    return [told(msgspec.json.decode(row["headers"]), row["subject"], row["body"]) for row in found]


def told(headers: dict[str, str], subject: str, body: bytes, metadata: Any = None) -> Told:
    """Read a fact from its message, or from its row in an outbox (without ``metadata``)."""
    kind = headers.get("ce-type", "")
    fact = BY_TYPE.get(kind)
    event = version = None
    try:
        event = msgspec.json.decode(body, type=fact.kind) if fact else None
        version = event.version if event else msgspec.json.decode(body)["version"]
    except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
        pass
    return Told(
        sequence=metadata.sequence.stream if metadata else 0,
        id=headers.get("ce-id", ""),
        kind=kind,
        teller=headers.get("ce-source", "").removeprefix("/woodshed/"),
        aggregate=".".join(subject.split(".")[1:4]),
        version=version or 0,
        event=event,
    )
