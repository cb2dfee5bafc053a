"""A pool of connections, and the transaction every reaction lives in.

Application code never commits: leaving the ``async with`` does. ``app.tenant`` is set
for each transaction, and row-level security shows only that tenant's rows; work that
belongs to the platform (the queue, the arbiter) asks for ``across_tenants`` by name.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
from opentelemetry import trace
from opentelemetry.propagate import inject

from contracts.base import Event, aggregate_of, encode, new_id, subject_of, type_of

tracer = trace.get_tracer(__name__)

ALL_TENANTS = "*"
DB_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What asking a database ends in that is away, starting or ended the connection: work that is repeated waits for it."""

BEGIN = "BEGIN; SET LOCAL app.tenant = {tenant}"
WITHOUT_WAITING = "; SET LOCAL synchronous_commit = off"
NEXT_VERSION = """
    INSERT INTO {schema}.aggregate_version (aggregate, tenant, version)
    VALUES ($1, $2, 1)
        ON CONFLICT (aggregate) DO UPDATE SET version = aggregate_version.version + 1
 RETURNING version
"""
NEXT_VERSIONS = """
    INSERT INTO {schema}.aggregate_version (aggregate, tenant, version)
    SELECT told.aggregate, told.tenant, 1
      FROM unnest($1::text[], $2::text[]) AS told (aggregate, tenant)
     ORDER BY told.aggregate
        ON CONFLICT (aggregate) DO UPDATE SET version = aggregate_version.version + 1
 RETURNING aggregate, version
"""
ADD_FACT = """
    INSERT INTO {schema}.outbox (id, tenant, subject, headers, body)
    VALUES ($1, $2, $3, $4, $5)
 RETURNING pg_notify('outbox_{schema}', '')
"""
CLAIM = """
    INSERT INTO {schema}.inbox (id)
    VALUES ($1)
        ON CONFLICT DO NOTHING
 RETURNING id
"""


class Transaction:
    """One transaction: asyncpg's query methods, and the outbox."""

    def __init__(self, connection: "asyncpg.pool.PoolConnectionProxy[Any]", schema: str, tenant: str) -> None:
        self._connection = connection
        self._schema = schema
        self._afterwards: list[Callable[[], object]] = []
        self.tenant = tenant
        self.fetch = connection.fetch
        self.fetchrow = connection.fetchrow
        self.fetchval = connection.fetchval
        self.execute = connection.execute
        self.executemany = connection.executemany

    async def tell(self, event: Event) -> Event:
        """Add a fact to the outbox, numbered within its aggregate; it leaves if and when this commits."""
        version = await self.fetchval(self._sql(NEXT_VERSION), aggregate_of(event), event.tenant)
        event = msgspec.structs.replace(event, version=version)
        await self.execute(self._sql(ADD_FACT), *self._row(event))
        return event

    async def tell_all(self, events: Sequence[Event]) -> None:
        """Add many facts, each of another aggregate, in two statements."""
        if not events:
            return
        aggregates = [aggregate_of(event) for event in events]
        told = await self.fetch(self._sql(NEXT_VERSIONS), aggregates, [event.tenant for event in events])
        versions = {row["aggregate"]: row["version"] for row in told}
        numbered = [
            msgspec.structs.replace(event, version=versions[aggregate])
            for event, aggregate in zip(events, aggregates, strict=True)
        ]
        await self.executemany(self._sql(ADD_FACT), [self._row(event) for event in numbered])

    def _row(self, event: Event) -> tuple[str, str, str, str, bytes]:
        identity = new_id("evt")
        headers = event_headers(event, identity, source=self._schema)
        return identity, event.tenant, subject_of(event), msgspec.json.encode(headers).decode(), encode(event)

    async def claim(self, event_id: str) -> bool:
        """Enter an event into the inbox. ``False``: its effect is already here."""
        return await self.fetchval(self._sql(CLAIM), event_id) is not None

    async def at_one_moment(self) -> None:
        """Let every statement from here on see the database as the next one finds it; ask before any other."""
        await self.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def afterwards(self, act: Callable[[], object]) -> None:
        """Do this at once when the transaction is committed, and never when it is not: wake who waits for its rows."""
        self._afterwards.append(act)

    def _sql(self, statement: str) -> str:
        return statement.format(schema=self._schema)


class Database:
    """A service's door to its own schema."""

    def __init__(self, pool: "asyncpg.Pool[Any]", schema: str) -> None:
        self.pool = pool
        self.schema = schema

    @classmethod
    async def connect(cls, url: str, schema: str, *, size: int = 4) -> "Database":
        """Open the pool lazily: one connection now, ``size`` at most."""
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            command_timeout=60,
            reset=_as_it_is,
            server_settings={"application_name": schema},
        )
        return cls(pool, schema)

    @asynccontextmanager
    async def held(self) -> AsyncIterator["asyncpg.pool.PoolConnectionProxy[Any]"]:
        """Have a connection for what outlives a transaction, locks and listening; it is given back as it was new."""
        async with self.pool.acquire() as connection:
            try:
                yield connection
            finally:
                if not connection.is_closed():
                    await connection.reset()

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close()

    @asynccontextmanager
    async def transaction(self, tenant: str, *, durable: bool = True) -> AsyncIterator[Transaction]:
        """Begin; commit on leaving, roll back on an exception. Only ``tenant``'s rows are seen.

        What is not ``durable`` is not waited for until it is on disk: a crash of the database may undo its last
        moments, whole transactions of them. For what is measured again anyway, and tells nothing.
        """
        with tracer.start_as_current_span("postgresql transaction", attributes={"db.namespace": self.schema}):
            async with self.pool.acquire() as connection, _begun(connection, tenant, durable):
                tx = Transaction(connection, self.schema, tenant)
                yield tx
            for act in tx._afterwards:
                act()

    async def ask(self, statement: str, *given: Any) -> asyncpg.Record | None:
        """Return one row, in one round trip and without a transaction: what a function answers that says itself whose
        rows it sees.
        """
        with tracer.start_as_current_span("postgresql question", attributes={"db.namespace": self.schema}):
            return await self.pool.fetchrow(statement, *given)

    @asynccontextmanager
    async def across_tenants(self, *, durable: bool = True) -> AsyncIterator[Transaction]:
        """Begin a transaction that sees every tenant's rows: for the platform's own work."""
        async with self.transaction(ALL_TENANTS, durable=durable) as tx:
            yield tx


@asynccontextmanager
async def _begun(
    connection: "asyncpg.pool.PoolConnectionProxy[Any]", tenant: str, durable: bool
) -> AsyncIterator[None]:
    """Begin for a tenant in one round trip; commit on leaving, roll back on an exception."""
    try:
        await connection.execute(BEGIN.format(tenant=literal(tenant)) + ("" if durable else WITHOUT_WAITING))
        yield
        await connection.execute("COMMIT")
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise


async def _as_it_is(_: "asyncpg.Connection[Any]") -> None:
    """Leave a connection as a transaction left it: what that set ended with it, so nothing needs a reset."""


def event_headers(event: Event, identity: str, source: str) -> dict[str, str]:
    """CloudEvents attributes (binary mode, NATS binding) and the trace context, as message headers."""
    headers = {
        "Nats-Msg-Id": identity,
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-source": f"/woodshed/{source}",
        "ce-type": type_of(type(event)),
        "ce-time": event.at.isoformat(),
        "content-type": "application/json",
    }
    inject(headers)
    return headers


def now() -> datetime:
    """The time facts are stamped with, in UTC."""
    return datetime.now(UTC)


def literal(value: str) -> str:
    """Return a value as SQL writes it in a statement that takes no parameters."""
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return a schema or role name that may stand in a statement; ``ValueError`` if it may not."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError(f"{name!r} is no plain SQL name")
    return name
