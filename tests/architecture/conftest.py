"""A look at the migrated database from above."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.testing.servers import Servers


@pytest.fixture
async def migrated(real_servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """The database as its administrator sees it."""
    connection = await asyncpg.connect(real_servers.admin_url.rsplit("/", 1)[0] + "/woodshed")
    try:
        yield connection
    finally:
        await connection.close()
