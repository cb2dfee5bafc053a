"""Schemas only move forward, by numbered files that never change."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from deploy.provision import provision
from libs.db.migrate import create_roles, migrate, numbered, verify
from libs.errors import Conflict
from libs.testing.servers import PASSWORDS, Servers

FIRST = "CREATE TABLE notifier.thing (tenant text NOT NULL); SELECT public.protect('notifier.thing');"
SECOND = "ALTER TABLE notifier.thing ADD COLUMN name text NOT NULL DEFAULT '';"


@pytest.fixture
async def admin(real_servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """The administrator in a database of its own."""
    server = await asyncpg.connect(real_servers.admin_url)
    await server.execute("DROP DATABASE IF EXISTS migrations")
    await server.execute("CREATE DATABASE migrations")
    connection = await asyncpg.connect(real_servers.admin_url.rsplit("/", 1)[0] + "/migrations")
    await create_roles(connection, "notifier", PASSWORDS["notifier"])
    yield connection
    await connection.close()
    await server.execute("DROP DATABASE migrations")
    await server.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_thing.sql").write_text(FIRST)
    return tmp_path


async def columns(admin: asyncpg.Connection) -> list[str]:
    names = "SELECT column_name FROM information_schema.columns WHERE table_name = 'thing' ORDER BY ordinal_position"
    return [row[0] for row in await admin.fetch(names)]


async def test_what_is_missing_is_applied_once(admin: asyncpg.Connection, folder: Path) -> None:
    assert await migrate(admin, "notifier", folder) == 1
    assert await migrate(admin, "notifier", folder) == 1
    (folder / "0002_name.sql").write_text(SECOND)
    assert await migrate(admin, "notifier", folder) == 2
    assert await columns(admin) == ["tenant", "name"]


async def test_a_file_changed_after_it_ran_is_refused(admin: asyncpg.Connection, folder: Path) -> None:
    await migrate(admin, "notifier", folder)
    (folder / "0001_thing.sql").write_text(FIRST + " -- one more word")
    with pytest.raises(Conflict, match=r"0001_thing\.sql was changed after it ran"):
        await migrate(admin, "notifier", folder)


async def test_a_migration_that_fails_leaves_nothing_and_is_named(admin: asyncpg.Connection, folder: Path) -> None:
    (folder / "0002_name.sql").write_text(SECOND + "SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError) as failed:
        await migrate(admin, "notifier", folder)
    assert failed.value.__notes__ == ["in notifier/0002_name.sql"]
    assert await columns(admin) == ["tenant"]
    (folder / "0002_name.sql").write_text(SECOND)
    assert await migrate(admin, "notifier", folder) == 2


async def test_a_program_refuses_a_schema_older_or_newer_than_itself(admin: asyncpg.Connection, folder: Path) -> None:
    await migrate(admin, "notifier", folder)
    await verify(admin, "notifier", folder)
    (folder / "0002_name.sql").write_text(SECOND)
    with pytest.raises(Conflict, match=r"notifier is older \(1\) than this program \(2\)"):
        await verify(admin, "notifier", folder)
    await migrate(admin, "notifier", folder)
    (folder / "0002_name.sql").unlink()
    with pytest.raises(Conflict, match=r"notifier is newer \(2\) than this program \(1\)"):
        await verify(admin, "notifier", folder)


@pytest.mark.parametrize(
    "names", [["0002_b.sql"], ["0001_a.sql", "0001_b.sql"], ["0001_a.sql", "0003_c.sql"], ["a.sql"]]
)
def test_a_gap_a_twin_or_a_foreign_name_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(ValueError, match=r"0001"):
        numbered(tmp_path)


async def test_provisioning_twice_changes_nothing(real_servers: Servers) -> None:
    async def tables() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(real_servers.admin_url.rsplit("/", 1)[0] + "/woodshed")
        try:
            return await connection.fetch("SELECT oid, relname, relacl FROM pg_class WHERE relkind = 'r' ORDER BY oid")
        finally:
            await connection.close()

    before = await tables()
    await provision(real_servers.admin_url, real_servers.nats_url, PASSWORDS)
    assert await tables() == before
