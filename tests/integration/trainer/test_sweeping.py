"""What lost attempts left in storage goes, and nothing else, on real rows and objects."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from libs.db.database import now
from libs.testing.platform import World
from services.trainer.sweeping import Sweeper
from tests.deploy.healthy import RUN, TENANT, Healthy, build


@pytest.fixture
async def house(world: World) -> AsyncIterator[Healthy]:
    admin = await asyncpg.connect(world.servers.admin_url.rsplit("/", 1)[0] + "/woodshed")
    try:
        house = Healthy(world, admin)
        await house.storage.delete_prefix("")
        await build(house)
        yield house
    finally:
        await admin.close()


async def test_a_sweep_takes_what_nobody_names_and_leaves_every_other_object(house: Healthy) -> None:
    await house.run("UPDATE trainer.lease SET ended_how = CASE fence WHEN 9 THEN 'done' ELSE 'lost' END")
    named = set(await house.storage.objects())
    left = [f"{TENANT}/runs/{RUN}/fence-7/adapter/half", f"{TENANT}/runs/{RUN}/fence-7/step-25/optimizer.pt"]
    for key in left:
        await house.storage.put_bytes(key, b"half")
    sweeper = Sweeper((await house.platform("trainer")).db, house.storage)
    assert await sweeper.sweep(now()) == []
    assert sorted(await sweeper.sweep(now() + timedelta(hours=2))) == left
    assert set(await house.storage.objects()) == named
