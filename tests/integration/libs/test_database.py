"""A transaction shows one tenant's rows, whatever that tenant is called, and leaves nothing behind however it ends."""

import asyncio

import pytest

from libs.db import Database
from libs.testing.platform import World

ODD = ["it's", "'; DROP TABLE gateway.tenant; --", "back\\slash", "ümläut", '"quoted"']
TELL = "INSERT INTO gateway.outbox (id, tenant, subject, headers, body) VALUES ('evt_x', 'acme', 'x', '{}', '')"
TENANT = "SELECT current_setting('app.tenant', true)"


@pytest.fixture
async def db(world: World) -> Database:
    return (await world.platform("gateway")).db


@pytest.mark.parametrize("tenant", ODD)
async def test_a_tenants_name_is_taken_as_it_is(db: Database, tenant: str) -> None:
    async with db.transaction(tenant) as tx:
        assert await tx.fetchval(TENANT) == tenant
    assert await db.pool.fetchval(TENANT) == ""


async def test_an_exception_and_a_cancellation_leave_no_transaction_open(db: Database) -> None:
    with pytest.raises(RuntimeError):
        async with db.transaction("acme"):
            raise RuntimeError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), db.transaction("acme") as tx:
            await tx.execute("SELECT pg_sleep(60)")
    async with db.pool.acquire() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval(TENANT) == ""


async def test_whoever_asks_for_one_moment_sees_nothing_that_is_written_meanwhile(db: Database) -> None:
    facts = "SELECT count(*) FROM gateway.outbox"
    async with db.across_tenants() as tx:
        await tx.at_one_moment()
        before = await tx.fetchval(facts)
        async with db.across_tenants() as other:
            await other.execute(TELL)
        assert await tx.fetchval(facts) == before
    async with db.across_tenants() as tx:
        assert await tx.fetchval(facts) == before + 1
        await tx.execute("DELETE FROM gateway.outbox WHERE id = 'evt_x'")
