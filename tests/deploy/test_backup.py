"""A backup taken while a job trains, and what is made from it: the job finishes there, and every invariant holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import nats
import pytest

from contracts.datasets import DatasetReady
from contracts.jobs import JobFailed, JobSubmitted, JobSucceeded
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import CheckpointCommitted, RunFinished, RunInterrupted, RunRecovered
from deploy import backup as backing_up
from deploy.backup import Source, backup, servers_of
from deploy.installation import postgres_folder
from deploy.invariants import Installation, check
from deploy.invariants.__main__ import table
from deploy.restore import restore
from libs.bus.forgetting import Forgetter
from libs.bus.permissions import ADMIN
from libs.embedded.home import Home
from libs.embedded.postgres import Cluster
from libs.errors import Conflict, Rejected
from libs.storage import Storage
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS, Servers
from tests.deploy.drill import SAVED, Pretender, services
from tests.deploy.healthy import DATASET, FILE, JOB, TENANT, Healthy, build, dataset, upload


@pytest.fixture
async def house(world: World) -> AsyncIterator[Healthy]:
    admin = await asyncpg.connect(world.servers.admin_url.rsplit("/", 1)[0] + "/woodshed")
    try:
        house = Healthy(world, admin)
        await house.storage.delete_prefix("")
        yield house
    finally:
        await admin.close()


def source(house: Healthy) -> Source:
    servers = house.world.servers
    return Source(
        database_url=servers.admin_url,
        nats_url=servers.nats_url,
        secrets=PASSWORDS,
        storage_url=house.url,
        owner_key="wsk_key",
    )


async def submit(house: Healthy) -> None:
    """An upload, its dataset, and a job that waits for a device."""
    await upload(house)
    await dataset(house)
    await house.run(
        "INSERT INTO gateway.job (job_id, tenant, model, training_file, dataset_id, preset, priority, suffix, seed,"
        " asked, metadata) VALUES ($1, $2, $3, $4, $5, 'quick', 'medium', '', 1, '{}', '{}')",
        JOB, TENANT, SHIPPED_MODEL, FILE, DATASET,
    )  # fmt: skip
    await house.tell(JobSubmitted, base_model=SHIPPED_MODEL, preset="quick", priority="medium")
    await house.tell(DatasetReady, base_model=SHIPPED_MODEL, uri=f"{TENANT}/datasets/d1", train_examples=2000)


async def restored_world(home: Home, nats_url: str) -> World:
    given = json.loads((home.folder / "ports.json").read_text())
    cluster = Cluster(postgres_folder(home), given["postgres"], PASSWORDS["postgres"])
    client = await nats.connect(nats_url, user=ADMIN, password=PASSWORDS[ADMIN])
    return World(Servers(nats_url, cluster.url, cluster, home.folder), client)


async def test_a_job_that_trained_when_the_backup_was_taken_finishes_in_what_is_made_from_it(
    house: Healthy, tmp_path: Path
) -> None:
    await submit(house)
    pretender = Pretender(house.world, house.storage, finishes=False)
    async with services(house.world, house.url), pretender.running():
        await house.world.told(CheckpointCommitted)
        for service in ("scheduler", "trainer"):
            await forget_everything(house.world, service)
        manifest = await backup(source(house), tmp_path / "backup")
    assert manifest.missing == ()
    assert manifest.taken_in["scheduler"] > 0
    assert manifest.taken_in["trainer"] > 0
    home = Home(house.world.servers.folder / "restored")
    await restore(tmp_path / "backup", home)
    async with servers_of(home) as target:
        world = await restored_world(home, target.nats_url)
        again = Pretender(world, Storage.open(home.storage_url), finishes=True)
        try:
            async with services(world, home.storage_url), again.running():
                [finished] = await world.told(RunFinished)
                await world.told(JobSucceeded)
                [interrupted] = await world.told(RunInterrupted)
                [recovered] = await world.told(RunRecovered)
                findings = await check(auditing(world, home), patience=20.0, pause=0.2)
        finally:
            await world.close()
            await world.nc.close()
    assert all(finding.held for finding in findings), table(findings)
    assert again.resumed_at == [interrupted.step] == [recovered.step] == [SAVED]
    assert finished.device_seconds < 60
    assert (home.folder / "owner.key").read_text() == "wsk_key"


async def forget_everything(world: World, service: str) -> None:
    """Empty an inbox as if all that it knows were long past."""
    platform = await world.platform(service)
    forgetter = Forgetter(platform.db, platform.bus)
    async with asyncio.timeout(30):
        while await forgetter.forget(timedelta(0)) is None:
            await asyncio.sleep(0.05)


def auditing(world: World, home: Home) -> Installation:
    return Installation(
        database_url=world.servers.cluster.url_for("woodshed_auditor", PASSWORDS["auditor"], "woodshed"),
        nats_url=world.servers.nats_url,
        nats_password=PASSWORDS["auditor"],
        storage_url=home.storage_url,
    )


async def test_what_happens_while_the_backup_is_taken_is_not_half_in_it(
    house: Healthy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await build(house)
    await house.tell(JobFailed, job_id="ftjob-waits")
    copy_streams: Any = backing_up._streams

    async def later(*arguments: Any) -> Any:
        await house.tell(JobFailed, job_id="ftjob-later")
        await house.publish()
        return await copy_streams(*arguments)

    monkeypatch.setattr(backing_up, "_streams", later)
    await backup(source(house), tmp_path / "backup")
    told = (tmp_path / "backup" / "EVENTS.jsonl").read_text()
    assert "ftjob-later" not in told
    assert "ftjob-waits" not in told
    assert JOB in told


async def test_a_checkpoint_pruned_meanwhile_makes_the_backup_begin_again(
    house: Healthy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await build(house)
    copy_streams: Any = backing_up._streams
    takes = []

    async def pruning(*arguments: Any) -> Any:
        takes.append("take")
        pruned = "acme/runs/run-1/fence-7/step-20"
        await house.storage.delete_prefix(pruned)
        await house.run(f"DELETE FROM trainer.checkpoint WHERE uri = '{pruned}'")
        return await copy_streams(*arguments)

    monkeypatch.setattr(backing_up, "_streams", pruning)
    manifest = await backup(source(house), tmp_path / "backup")
    assert (len(takes), manifest.missing) == (2, ())


async def test_a_backup_with_a_changed_byte_restores_nothing(house: Healthy, tmp_path: Path) -> None:
    await build(house)
    folder = tmp_path / "backup"
    await backup(source(house), folder)
    report = folder / "objects/acme/reports/eval-1/report.pdf"
    report.write_bytes(b"PDF")
    with pytest.raises(Rejected, match=r"report\.pdf"):
        await restore(folder, Home(tmp_path / "home"))
    assert not (tmp_path / "home" / "secrets.json").exists()
    with pytest.raises(Conflict, match="never writes over"):
        await backup(source(house), folder)


async def test_nothing_is_restored_over_an_installation(house: Healthy, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.secrets()
    with pytest.raises(Conflict, match="holds an installation already"):
        await restore(tmp_path / "backup", home)
