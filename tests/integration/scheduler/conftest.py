"""One scheduler, or two at once, on the session's database."""

from collections.abc import AsyncIterator

import pytest

from libs.db import Database
from libs.testing.platform import World
from services.scheduler.domain.estimate import Rate
from services.scheduler.handlers import router
from tests.integration.scheduler.house import Scheduler


@pytest.fixture
async def pair(world: World) -> AsyncIterator[list[Scheduler]]:
    """Two processes of the scheduler on one database."""
    router.resources["rate"] = Rate(per_hour=0.06, currency="USD")
    url = world.servers.database_url("scheduler")
    databases = [await Database.connect(url, "scheduler", size=8) for _ in range(2)]
    yield [Scheduler(database) for database in databases]
    for database in databases:
        await database.close()


@pytest.fixture
def scheduler(pair: list[Scheduler]) -> Scheduler:
    """One process of the scheduler."""
    return pair[0]
