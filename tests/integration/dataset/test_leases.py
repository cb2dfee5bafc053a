"""Imports survive whatever happens to those who carry them out, and every one of them ends once."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from contracts.datasets import DatasetReady, DatasetRefused
from services.dataset import queries
from services.dataset.domain.imports import Taken, fact
from services.dataset.domain.versions import Refused
from services.dataset.importing import Importer
from services.dataset.settings import Settings
from tests.integration.dataset.conftest import AT, SAMPLES, Desk

CONVERSATIONS = (SAMPLES / "conversations.jsonl").read_bytes()
BROKEN = Refused(code="x", message="refused by somebody slow")


async def write_down(desk: Desk, **changes: object) -> str:
    """Have a dataset asked for, with nobody importing yet."""
    asked = await desk.ask(CONVERSATIONS)
    async with desk.platform.db.transaction(asked.tenant) as tx:
        await queries.add(tx, msgspec.structs.replace(asked, **changes))
    return asked.dataset_id


async def take(desk: Desk, lease: float = 30.0) -> Taken | None:
    async with desk.platform.db.across_tenants() as tx:
        return await queries.take(tx, lease)


def importer(desk: Desk, **changes: object) -> Importer:
    settings = desk.world.settings(Settings, models_dir=str(desk.models), **changes)
    assert isinstance(settings, Settings)
    return Importer(settings, desk.platform, asyncio.Event())


async def state(desk: Desk, dataset_id: str) -> tuple[str, int]:
    async with desk.platform.db.transaction("acme") as tx:
        row = await tx.fetchrow("SELECT state, fence FROM dataset.dataset WHERE dataset_id = $1", dataset_id)
    return row["state"], row["fence"]


async def test_two_takers_never_get_the_same_dataset(desk: Desk) -> None:
    wanted = {await write_down(desk) for _ in range(4)}
    taken = await asyncio.gather(*(take(desk) for _ in range(4)))
    assert {each.dataset_id for each in taken if each} == wanted
    assert await take(desk) is None


async def test_an_import_whose_service_fell_silent_is_taken_up_under_a_new_fence(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    first = await take(desk, lease=0.0)
    second = await take(desk)
    assert first
    assert second
    assert (first.dataset_id, first.fence, second.dataset_id, second.fence) == (dataset_id, 1, dataset_id, 2)


async def test_what_a_stale_import_writes_is_dropped(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    stale = await take(desk, lease=0.0)
    assert stale
    assert await take(desk)
    async with desk.platform.db.transaction("acme") as tx:
        assert not await queries.renew(tx, stale, 30)
        assert await queries.crashed(tx, stale) is None
        assert not await queries.settle(tx, stale, fact(stale, BROKEN, AT))
    assert await state(desk, dataset_id) == ("importing", 2)


async def test_an_import_ends_once_even_if_its_lease_ran_out_on_the_way(desk: Desk) -> None:
    await write_down(desk)
    slow = await take(desk, lease=0.0)
    assert slow
    assert await importer(desk).import_next()
    async with desk.platform.db.transaction("acme") as tx:
        assert not await queries.settle(tx, slow, fact(slow, BROKEN, AT))
        told = await tx.fetchval("SELECT count(*) FROM dataset.outbox")
    assert told == 1
    assert await state(desk, slow.dataset_id) == ("ready", 2)


async def test_a_stopped_service_gives_its_import_back_at_once(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    carrying = asyncio.create_task(importer(desk).import_next())
    await _until(lambda: _children("services.dataset.importer"))
    carrying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await carrying
    assert not _children("services.dataset.importer")
    again = await take(desk)
    assert again
    assert (again.dataset_id, again.fence) == (dataset_id, 2)


async def test_an_import_process_that_is_killed_is_tried_again(desk: Desk) -> None:
    await write_down(desk)
    carrying = asyncio.create_task(importer(desk).import_next())
    (victim,) = await _until(lambda: _children("services.dataset.importer"))
    os.kill(victim, signal.SIGKILL)
    assert await carrying
    async with desk.platform.db.transaction("acme") as tx:
        row = await tx.fetchrow("SELECT state, crashes, lease_until - now() AS pause FROM dataset.dataset")
    assert (row["state"], row["crashes"]) == ("importing", 1)
    assert timedelta() < row["pause"] < timedelta(seconds=10)


async def test_a_file_that_keeps_killing_its_import_is_refused(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    carrying = asyncio.create_task(importer(desk, import_crashes=1).import_next())
    (victim,) = await _until(lambda: _children("services.dataset.importer"))
    os.kill(victim, signal.SIGKILL)
    await carrying
    assert await state(desk, dataset_id) == ("refused", 1)
    async with desk.open():
        (refused,) = await desk.world.told(DatasetRefused)
    assert refused.code == "import_crashed"


async def test_an_import_that_lost_its_lease_stops(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    carrying = asyncio.create_task(importer(desk, import_lease=0.3).import_next())
    (slow,) = await _until(lambda: _children("services.dataset.importer"))
    os.kill(slow, signal.SIGSTOP)
    async with desk.platform.db.transaction("acme") as tx:
        await tx.execute("UPDATE dataset.dataset SET fence = fence + 1")
    assert await carrying
    assert not _children("services.dataset.importer")
    assert await state(desk, dataset_id) == ("importing", 2)


async def test_a_full_disk_refuses_and_leaves_the_upload_and_the_next_import_alone(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    full = importer(desk)
    taken = await take(desk, lease=0.0)
    assert taken
    work = full.work / f"{dataset_id}~2"

    async def fill(*_: object) -> object:
        spec = await Importer._fetch(full, *_)  # type: ignore[arg-type]
        (work / "version" / "examples.jsonl").symlink_to("/dev/full")
        return spec

    full._fetch = fill  # type: ignore[assignment, method-assign]
    assert await full.import_next()
    assert not work.exists()
    async with desk.open():
        (refused,) = await desk.world.told(DatasetRefused)
        await desk.ask(CONVERSATIONS)
        await desk.world.told(DatasetReady)
    assert (refused.dataset_id, refused.code) == (dataset_id, "disk_full")
    assert await desk.platform.storage.get_bytes(taken.uri) == CONVERSATIONS


async def test_a_storage_that_is_away_only_delays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset_id = await write_down(desk)
    carrier = importer(desk)

    async def away(*_: object) -> Path:
        raise ConnectionError("storage is away")

    with monkeypatch.context() as broken:
        broken.setattr(desk.platform.storage, "fetch", away)
        assert await carrier.import_next()
    async with desk.platform.db.transaction("acme") as tx:
        row = await tx.fetchrow("SELECT state, crashes, lease_until > now() AS paused FROM dataset.dataset")
        await tx.execute("UPDATE dataset.dataset SET lease_until = now()")
    assert (row["state"], row["crashes"], row["paused"]) == ("importing", 0, True)
    assert await carrier.import_next()
    assert await state(desk, dataset_id) == ("ready", 2)


async def test_work_folders_of_earlier_attempts_are_removed(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    carrier = importer(desk)
    left = carrier.work / f"{dataset_id}~0"
    left.mkdir(parents=True)
    (left / "source").write_bytes(CONVERSATIONS)
    assert await carrier.import_next()
    assert not list(carrier.work.iterdir())


async def test_tenants_do_not_see_each_others_datasets(desk: Desk) -> None:
    dataset_id = await write_down(desk)
    async with desk.platform.db.transaction("other") as tx:
        assert await queries.standing(tx, dataset_id) is None
        assert await tx.fetchval("SELECT count(*) FROM dataset.dataset") == 0


def _children(program: str) -> list[int]:
    """Processes below this one that run a module and have not ended."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            status = (folder / "stat").read_text().rsplit(")", 1)[1].split() if folder.name.isdigit() else None
            if status and status[0] != "Z" and int(status[1]) == os.getpid() and program in _command(folder):
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _command(folder: Path) -> str:
    return (folder / "cmdline").read_bytes().decode().replace("\0", " ")


async def _until(found: object, timeout: float = 120.0) -> list[int]:
    assert callable(found)
    async with asyncio.timeout(timeout):
        while not (processes := found()):
            await asyncio.sleep(0.005)
    return list(processes)
