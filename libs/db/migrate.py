"""Forward-only numbered migrations, run by the one step that provisions.

Each service has its own schema, an owner that may change it and a plain role that may
not. Services refuse to start on a schema that is older or newer than their code.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import asyncpg

from libs.db.database import quoted
from libs.errors import Conflict

COMMON = Path(__file__).parent / "common.sql"

APPLIED = "SELECT number, sha256 FROM {schema}.migration ORDER BY number"
RECORD = "INSERT INTO {schema}.migration (number, name, sha256) VALUES ($1, $2, $3)"


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """Return the migrations of a folder in order; ``ValueError`` on a gap, twin or foreign name."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_[a-z0-9_]+\.sql", path.name)
        if not match:
            raise ValueError(f"{path.name}: a migration is named like 0001_what.sql")
        found.append((int(match[1]), path))
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"{folder}: migrations must be numbered 0001, 0002, … without gap or twin")
    return found


async def create_login(admin: "asyncpg.Connection[Any]", name: str, password: str) -> str:
    """Make a login that may do nothing yet, or give it this password; return its role."""
    role = quoted(f"woodshed_{name}")
    exists = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
    secret = await admin.fetchval("SELECT quote_literal($1::text)", password)
    verb = "ALTER" if exists else "CREATE"
    await admin.execute(f"{verb} ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {secret}")
    return role


async def create_roles(admin: "asyncpg.Connection[Any]", service: str, password: str) -> None:
    """Make the service's schema, its login role and what they may do. Safe to repeat."""
    schema = quoted(service)
    role = await create_login(admin, service, password)
    await admin.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    await admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await admin.execute(
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}"
    )
    await admin.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {role}")


async def create_auditor(admin: "asyncpg.Connection[Any]", services: Iterable[str], password: str) -> None:
    """Make the login that reads every service's tables and writes none. Safe to repeat; run it after the migrations.

    It passes no guard: like any role it sees the rows of the tenant it names, or of all (``*``).
    """
    role = await create_login(admin, "auditor", password)
    await admin.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on")
    for schema in map(quoted, services):
        await admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
        await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}")


async def migrate(admin: "asyncpg.Connection[Any]", service: str, folder: Path) -> int:
    """Apply what is missing, each in its own transaction; return the schema's number."""
    schema = quoted(service)
    await admin.execute(COMMON.read_text().replace("{schema}", schema))
    applied = {row["number"]: row["sha256"] for row in await admin.fetch(APPLIED.format(schema=schema))}
    migrations = numbered(folder)
    for number, path in migrations:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if applied.get(number, digest) != digest:
            raise Conflict(
                f"{path.name} was changed after it ran here. Put it back and write the change as a new migration."
            )
        if number not in applied:
            await _apply(admin, schema, number, path)
    return len(migrations)


async def _apply(admin: "asyncpg.Connection[Any]", schema: str, number: int, path: Path) -> None:
    text = path.read_text()
    try:
        async with admin.transaction():
            await admin.execute(text)
            digest = hashlib.sha256(text.encode()).hexdigest()
            await admin.execute(RECORD.format(schema=schema), number, path.name, digest)
    except asyncpg.PostgresError as error:
        error.add_note(f"in {schema}/{path.name}")
        raise


async def verify(connection: Any, service: str, folder: Path) -> None:
    """Raise ``Conflict`` unless the schema stands exactly where this code's migrations end."""
    there = await connection.fetchval(f"SELECT coalesce(max(number), 0) FROM {quoted(service)}.migration")
    here = len(numbered(folder))
    if there != here:
        age = "older" if there < here else "newer"
        raise Conflict(
            f"The database schema {service} is {age} ({there}) than this program ({here}). "
            "Run `python -m deploy.provision` of the newest version."
        )
