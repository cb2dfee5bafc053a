"""The time of leases on real rows: what a run is charged for."""

from datetime import timedelta

from libs.db.database import now
from libs.testing.platform import World
from services.trainer import queries_leases

HELD = timedelta(seconds=90, microseconds=1)


async def test_a_clock_set_back_while_a_device_was_held_charges_nothing_for_it(world: World) -> None:
    database = (await world.platform("trainer")).db
    granted = now()
    async with database.across_tenants() as tx:
        await tx.execute(
            "INSERT INTO trainer.device"
            " (device_id, runner, kind, precision, threads, memory_bytes, flops, torch_device)"
            " VALUES ('cpu-1', 'host', 'cpu', 'float32', 1, 1, 1, 'cpu')"
        )
        await tx.execute(
            "INSERT INTO trainer.run (run_id, tenant, job_id, state, recipe, dataset_id, dataset_digest, dataset_uri,"
            " checkpoint_every) VALUES ('run-1', 'acme', 'job-1', 'running', '{}', 'd', 'd', 'u', 10)"
        )
        for fence, ended in ((1, granted + HELD), (2, granted - timedelta(hours=1))):
            await tx.execute(
                "INSERT INTO trainer.lease (fence, tenant, run_id, device_id, runner, attempt, granted_at)"
                " VALUES ($1, 'acme', 'run-1', 'cpu-1', 'host', 1, $2)", fence, granted
            )  # fmt: skip
            assert await queries_leases.end_lease(tx, fence, ended, "lost")
        assert await queries_leases.device_seconds(tx, "run-1", now()) == HELD.total_seconds()
