"""What is superfluous goes, in a folder and in S3: old checkpoints with their bytes, and rows nothing asks for."""

import asyncio
from datetime import timedelta

import pytest
from obstore.exceptions import GenericError

from contracts.jobs import ModelDeleted
from libs.bus.forgetting import KEPT
from libs.db.database import now
from libs.service import Platform
from libs.storage import Storage
from libs.testing.platform import World
from libs.waking import Wake
from services.trainer.control import Control
from services.trainer.domain.liveness import Silence
from services.trainer.handlers import let_checkpoints_go
from services.trainer.loops import Loops
from services.trainer.settings import TrainerSettings
from services.trainer.sweeping import Sweeper
from tests.integration.trainer.house import until

RUN = """
    INSERT INTO trainer.run
           (run_id, tenant, job_id, state, recipe, dataset_id, dataset_digest, dataset_uri, checkpoint_every)
    VALUES ('run-1', 'acme', 'job-1', 'running', '{}', 'd', 'd', 'u', 10)
"""
CHECKPOINT = """
    INSERT INTO trainer.checkpoint (uri, tenant, run_id, fence, step, size, sha256, quarantined, committed_at)
    VALUES ($1, 'acme', 'run-1', 1, $2, 1, 'a', $3, now())
"""
STEPS = (1, 10, 100, 101)


def uri(step: int) -> str:
    return f"acme/runs/run-1/fence-1/step-{step}"


async def loops(world: World, platform: Platform, storage: Storage) -> Loops:
    """Enter a run with four checkpoints, the third of them quarantined, and their bytes."""
    async with platform.db.across_tenants() as tx:
        await tx.execute(RUN)
        for step in STEPS:
            await tx.execute(CHECKPOINT, uri(step), step, "damaged" if step == 100 else None)
            for name in ("MANIFEST.json", "optimizer.pt"):
                await storage.put_bytes(f"{uri(step)}/{name}", b"x")
    settings = world.settings(TrainerSettings)
    assert isinstance(settings, TrainerSettings)
    return Loops(Control(platform.db, platform.bus, settings, Silence(15.0), Wake()), storage)


async def kept(platform: Platform) -> list[int]:
    async with platform.db.across_tenants() as tx:
        return [row["step"] for row in await tx.fetch("SELECT step FROM trainer.checkpoint ORDER BY step")]


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_of_the_whole_checkpoints_the_newest_two_stay_in_storage(
    world: World, kind: str, request: pytest.FixtureRequest
) -> None:
    """The name of the one that goes begins those of two that stay."""
    folder = world.servers.folder / "pruned"
    where = f"{request.getfixturevalue('s3')}/pruned" if kind == "s3" else f"file://{folder}"
    storage, platform = Storage.open(where), await world.platform("trainer")
    work = await loops(world, platform, storage)
    await work.prune()
    assert await kept(platform) == [10, 100, 101]
    names = ("MANIFEST.json", "optimizer.pt")
    assert await storage.list("acme/runs") == sorted(f"{uri(step)}/{name}" for step in STEPS[1:] for name in names)
    await work.prune()
    assert await kept(platform) == [10, 100, 101]


async def test_with_a_model_all_its_checkpoints_go_and_no_others(world: World) -> None:
    storage, platform = Storage.open(f"file://{world.servers.folder / 'deleted'}"), await world.platform("trainer")
    work = await loops(world, platform, storage)
    gone = ModelDeleted(tenant="acme", at=now(), job_id="job-1", model="ft:x", adapter_uri="acme/runs/run-1/adapter")
    async with platform.db.across_tenants() as tx:
        await let_checkpoints_go(gone, tx, Wake())
    await work.prune()
    assert await kept(platform) == [10, 100, 101], "a run that goes on keeps what it can resume from"
    async with platform.db.across_tenants() as tx:
        await tx.execute("UPDATE trainer.run SET state = 'succeeded'")
        await let_checkpoints_go(gone, tx, Wake())
    await work.prune()
    assert await kept(platform) == []
    assert await storage.list("acme/runs") == []


class Away(Storage):
    """Refuses the first deletion as S3 does that cannot be reached."""

    refused = 0

    async def delete_prefix(self, prefix: str) -> None:
        if not self.refused:
            self.refused += 1
            raise GenericError("error sending request")
        await super().delete_prefix(prefix)


async def test_a_storage_that_is_away_delays_pruning_and_ends_nothing(world: World) -> None:
    storage, platform = Away.open(f"file://{world.servers.folder / 'away'}"), await world.platform("trainer")
    assert isinstance(storage, Away)
    work, ear = await loops(world, platform, storage), asyncio.Event()
    repeating = asyncio.create_task(work._repeat(work.prune, ear))

    async def pruned() -> bool:
        ear.set()
        return await kept(platform) == [10, 100, 101]

    await until(pruned)
    repeating.cancel()
    assert storage.refused == 1


async def test_rows_that_nothing_can_ask_for_any_more_are_forgotten(world: World) -> None:
    platform = await world.platform("trainer")
    async with platform.db.across_tenants() as tx:
        for name, age in (("old", KEPT + timedelta(days=1)), ("young", KEPT - timedelta(days=1))):
            await tx.execute(
                "INSERT INTO trainer.called_off (offer_id, tenant, job_id, at) VALUES ($1, 'acme', 'job', $2)",
                name, now() - age,
            )  # fmt: skip
            for waits in (True, False):
                await tx.execute(
                    "INSERT INTO trainer.waiting (job_id, tenant, version, waits, since)"
                    " VALUES ($1, 'acme', 1, $2, $3)",
                    f"{name} {waits}", waits, now() - age,
                )  # fmt: skip
    await Sweeper(platform.db, Storage.open(f"file://{world.servers.folder / 'swept'}")).forget(now() - KEPT)
    async with platform.db.across_tenants() as tx:
        offers = [row["offer_id"] for row in await tx.fetch("SELECT offer_id FROM trainer.called_off")]
        jobs = [row["job_id"] for row in await tx.fetch("SELECT job_id FROM trainer.waiting ORDER BY job_id")]
    assert offers == ["young"]
    assert jobs == ["old True", "young False", "young True"]
