"""The notifier's database, and people's facts written down in it."""

from collections.abc import AsyncIterator

import pytest

from libs.db import Database
from libs.testing.platform import World
from tests.integration.notifier.house import Notices


@pytest.fixture
async def notices(world: World) -> AsyncIterator[Notices]:
    """The delivery records of an empty notifier."""
    database = await Database.connect(world.servers.database_url("notifier"), "notifier")
    yield Notices(database)
    await database.close()
