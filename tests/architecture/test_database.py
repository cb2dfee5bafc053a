"""The database as it stands after every migration: statements that fit it, and tenants it keeps apart."""

import ast
import re
from pathlib import Path

import asyncpg
import pytest

from contracts.catalogue import SERVICES
from libs.testing.servers import Servers

ROOT = Path(__file__).resolve().parents[2]
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|MERGE|LOCK|TRUNCATE)\s")

TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relrowsecurity AND c.relforcerowsecurity AS guarded,
           EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant'
                      AND NOT a.attisdropped) AS has_tenant,
           (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY($1)
"""
ROLE = """
    SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb AS mighty,
           EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) AS owner,
           EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) AS member
      FROM pg_roles r
     WHERE rolname = $1
"""
VIEWS = """
    SELECT format('%I.%I', n.nspname, c.relname)
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('v', 'm') AND n.nspname = ANY($1)
       AND NOT coalesce('security_invoker=true' = ANY(c.reloptions), false)
"""
DEFINERS = """
    SELECT p.oid::regprocedure::text
      FROM pg_proc p
      JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.prosecdef AND n.nspname = ANY($1 || ARRAY['public'])
"""


def speaks_sqlite(path: Path) -> bool:
    """Whether a module keeps a scratch index of its own in SQLite: no statement of it meets PostgreSQL."""
    return "import sqlite3\n" in path.read_text()


def statements() -> list[tuple[str, str, str]]:
    """Return (service, where, statement) of every uppercase SQL constant of services and libs."""
    found = []
    for path in [*sorted((ROOT / "services").rglob("*.py")), *sorted((ROOT / "libs").rglob("*.py"))]:
        package, room = path.relative_to(ROOT).parts[:2]
        service = room if package == "services" else "scheduler"
        for name, text in [] if speaks_sqlite(path) else _constants(path):
            found.append((service, f"{path.relative_to(ROOT)}:{name}", text.replace("{schema}", service)))
    return found


def _constants(path: Path) -> list[tuple[str, str]]:
    return [
        (node.targets[0].id, node.value.value)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and SQL.match(node.value.value)
    ]


async def test_every_statement_fits_the_migrated_schema_as_its_service(real_servers: Servers) -> None:
    wrong = []
    for service in SERVICES:
        connection = await asyncpg.connect(real_servers.database_url(service))
        for owner, where, statement in statements():
            if owner == service:
                try:
                    await connection.prepare(statement)
                except asyncpg.PostgresError as error:
                    wrong.append(f"{where}: {error}")
        await connection.close()
    assert wrong == []
    assert len(statements()) > 10


def test_sql_of_services_stands_in_queries_alone() -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "services").rglob("*.py")
        if "queries" not in path.stem and path.parent.name != "queries" and not speaks_sqlite(path)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"\s*(SELECT .*\bFROM\b|INSERT INTO|UPDATE \S+\s+SET|DELETE FROM)\s", node.value, re.DOTALL)
    ]
    assert strays == []


async def test_every_table_with_a_tenant_is_guarded(migrated: asyncpg.Connection) -> None:
    tables = await migrated.fetch(TABLES, list(SERVICES))
    unguarded = [row["name"] for row in tables if row["has_tenant"] and not (row["guarded"] and row["policies"] == 1)]
    assert unguarded == []
    assert {f"{service}.outbox" for service in SERVICES} <= {row["name"] for row in tables if row["has_tenant"]}


async def test_no_view_or_function_steps_around_the_guard(migrated: asyncpg.Connection) -> None:
    assert await migrated.fetch(VIEWS, list(SERVICES)) == []
    assert await migrated.fetch(DEFINERS, list(SERVICES)) == []


@pytest.mark.parametrize("service", SERVICES)
async def test_a_services_role_owns_nothing_and_passes_no_guard(migrated: asyncpg.Connection, service: str) -> None:
    role = await migrated.fetchrow(ROLE, f"woodshed_{service}")
    assert dict(role) == {"mighty": False, "owner": False, "member": False}


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_no_other_schema(real_servers: Servers, service: str) -> None:
    connection = await asyncpg.connect(real_servers.database_url(service))
    try:
        for other in set(SERVICES) - {service}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT 1 FROM {other}.outbox")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"CREATE TABLE {service}.own (tenant text)")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE public.own (tenant text)")
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_cannot_become_another(real_servers: Servers, service: str) -> None:
    connection = await asyncpg.connect(real_servers.database_url(service))
    try:
        for other in set(SERVICES) - {service}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"SET ROLE woodshed_{other}")
    finally:
        await connection.close()
