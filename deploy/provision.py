"""The one step that creates: roles, schemas, tables, streams, durables.

Everything else verifies and refuses to start on a mismatch. Safe to repeat; run it after
every update, before the services:

    WOODSHED_ADMIN_DATABASE_URL=… WOODSHED_NATS_URL=… WOODSHED_SECRETS=secrets.json python -m deploy.provision
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import asyncpg
import nats

from contracts.catalogue import SERVICES
from libs.bus.permissions import ADMIN, AUDITOR
from libs.bus.streams import provision as provision_streams
from libs.db.migrate import create_auditor, create_roles, migrate

ROOT = Path(__file__).resolve().parent.parent
DATABASE = "woodshed"


async def provision_database(admin_url: str, passwords: dict[str, str], database: str = DATABASE) -> str:
    """Make the database, and for each service its role, schema and tables; return the database's admin address."""
    server = await asyncpg.connect(admin_url)
    try:
        if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await server.execute(f"CREATE DATABASE {database}")
    finally:
        await server.close()
    url = admin_url.rsplit("/", 1)[0] + f"/{database}"
    admin = await asyncpg.connect(url)
    try:
        await _migrate_all(admin, passwords, database)
    finally:
        await admin.close()
    return url


async def _migrate_all(admin: "asyncpg.Connection[Any]", passwords: dict[str, str], database: str) -> None:
    await admin.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
    await admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    for service in SERVICES:
        await create_roles(admin, service, passwords[service])
        await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO woodshed_{service}")
        await migrate(admin, service, ROOT / "services" / service / "migrations")
    await create_auditor(admin, SERVICES, passwords[AUDITOR])
    await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO woodshed_{AUDITOR}")


async def provision_bus(url: str, password: str) -> None:
    """Make the streams and durables as the NATS administrator."""
    client = await nats.connect(url, user=ADMIN, password=password, name="provision")
    try:
        await provision_streams(client.jetstream(timeout=10))
    finally:
        await client.close()


async def provision(admin_database_url: str, nats_url: str, secrets: dict[str, str]) -> None:
    """Bring database and broker to this version."""
    await provision_database(admin_database_url, secrets)
    await provision_bus(nats_url, secrets[ADMIN])


def main() -> None:
    """Read addresses and secrets from the environment and provision."""
    secrets = json.loads(Path(os.environ["WOODSHED_SECRETS"]).read_text())
    asyncio.run(provision(os.environ["WOODSHED_ADMIN_DATABASE_URL"], os.environ["WOODSHED_NATS_URL"], secrets))


if __name__ == "__main__":
    main()
