"""Installations from before: keys hold and belong to an owner, and Slack addresses lie open no longer."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from libs.db import Database
from libs.db.migrate import create_roles, migrate
from libs.sealing import Seal
from libs.testing.servers import PASSWORDS, Servers
from services.gateway.bootstrap import bootstrap
from services.gateway.domain import keys
from services.gateway.domain.recipients import own_slack
from services.gateway.queries import keys as queries
from services.gateway.sealing import seal_what_lies_open
from tests.integration.gateway.conftest import PEPPER, SIGNING_KEY

MIGRATIONS = Path(__file__).resolve().parents[3] / "services" / "gateway" / "migrations"
LAST_WITHOUT_MEMBERS = 5
LAST_WITH_OPEN_ADDRESSES = 15
HOOK = "https://hooks.slack.com/services/T000/B000/secret"


@pytest.fixture
async def admin(real_servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    server = await asyncpg.connect(real_servers.admin_url)
    await server.execute("DROP DATABASE IF EXISTS updated")
    await server.execute("CREATE DATABASE updated")
    connection = await asyncpg.connect(real_servers.admin_url.rsplit("/", 1)[0] + "/updated")
    await create_roles(connection, "gateway", PASSWORDS["gateway"])
    yield connection
    await connection.close()
    await server.execute("DROP DATABASE updated")
    await server.close()


async def test_a_key_from_before_there_were_members_goes_on_to_hold_as_an_owners(
    admin: asyncpg.Connection, real_servers: Servers, tmp_path: Path
) -> None:
    for path in sorted(MIGRATIONS.glob("*.sql"))[:LAST_WITHOUT_MEMBERS]:
        shutil.copy(path, tmp_path)
    await migrate(admin, "gateway", tmp_path)
    key = keys.Key("AbCd1234", "z" * 32)
    await admin.execute("INSERT INTO gateway.tenant (tenant) VALUES ('studio'), ('empty')")
    await admin.execute(
        "INSERT INTO gateway.api_key (prefix, tenant, name, role, digest) VALUES ($1, 'studio', 'first', 'owner', $2)",
        key.prefix, keys.digest(PEPPER, key),
    )  # fmt: skip
    await migrate(admin, "gateway", MIGRATIONS)
    db = await Database.connect(real_servers.database_url("gateway", "updated"), "gateway")
    try:
        row = await queries.key(db, keys.parse(str(key)).prefix)
        assert row is not None
        assert (row["tenant"], row["role"], row["scopes"], row["expires_at"]) == ("studio", "owner", None, None)
        assert keys.matches(PEPPER, key, row["digest"])
        assert await bootstrap(db, "studio", PEPPER) is None
        made = await bootstrap(db, "empty", PEPPER)
        assert made is not None
        assert keys.parse(made)
        assert await admin.fetchval("SELECT count(*) FROM gateway.member") == 2
    finally:
        await db.close()


async def test_a_slack_address_that_lay_open_is_sealed_at_the_next_start_and_none_is_written_open_again(
    admin: asyncpg.Connection, real_servers: Servers, tmp_path: Path
) -> None:
    for path in sorted(MIGRATIONS.glob("*.sql"))[:LAST_WITH_OPEN_ADDRESSES]:
        shutil.copy(path, tmp_path)
    await migrate(admin, "gateway", tmp_path)
    await admin.execute("INSERT INTO gateway.tenant (tenant) VALUES ('studio'), ('rival')")
    add = """
        INSERT INTO gateway.recipient (recipient_id, tenant, email, wishes, slack_address)
        VALUES ($1, $2, '', '{"name": "Ada"}', $3)
    """
    lying = (("recipient-1", "studio", HOOK), ("recipient-2", "rival", f"{HOOK}2"), ("recipient-3", "studio", ""))
    await admin.executemany(add, lying)
    await migrate(admin, "gateway", MIGRATIONS)
    with pytest.raises(asyncpg.CheckViolationError):
        await admin.execute(add, "recipient-4", "studio", HOOK)
    seal = Seal(PEPPER, "slack address")
    db = await Database.connect(real_servers.database_url("gateway", "updated"), "gateway")
    try:
        assert [await seal_what_lies_open(db, seal) for _ in range(2)] == [2, 0]
    finally:
        await db.close()
    kept = await admin.fetch("SELECT * FROM gateway.recipient ORDER BY recipient_id")
    assert HOOK not in str([dict(row) for row in kept])
    assert [own_slack(row, seal) for row in kept] == [HOOK, f"{HOOK}2", ""]
    assert own_slack(kept[0], Seal(SIGNING_KEY, "slack address")) == ""
