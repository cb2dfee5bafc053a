"""A run on real servers with a real training child: it finishes, recovers from kills, and can be cancelled."""

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.base import new_id
from contracts.jobs import Estimate, JobCancelled, JobDispatched, JobStopping
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import (
    CheckpointCommitted,
    DeviceOffered,
    DispatchDeclined,
    LeaseGranted,
    RunCancelled,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunPaused,
    RunProgressed,
    RunRecovered,
)
from libs.db.database import now
from libs.embedded.supervisor import die_with_parent
from libs.storage import Storage
from libs.testing.models import tiny_model
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS
from services.trainer.app import build
from services.trainer.settings import TrainerSettings

EXAMPLES = 120


class Bench:
    """The control in this process, runners as processes, a dataset in storage."""

    def __init__(self, world: World, storage: Storage, models: Path) -> None:
        self.world = world
        self.storage = storage
        self.models = models
        self.runner: asyncio.subprocess.Process | None = None
        self.dataset = ("", "")

    async def start_runner(self) -> None:
        settings = {
            "WOODSHED_NATS_URL": self.world.servers.nats_url,
            "WOODSHED_NATS_PASSWORD": PASSWORDS["runner"],
            "WOODSHED_STORAGE_URL": f"file://{self.world.servers.folder / 'storage'}",
            "WOODSHED_DATA_DIR": str(self.world.servers.folder / "runner"),
            "WOODSHED_MODELS_DIR": str(self.models.parent),
            "WOODSHED_RUNNER_NAME": "bench",
            "WOODSHED_BEAT_SECONDS": "0.3",
        }
        self.runner = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.trainer.runner", env=os.environ | settings,
            preexec_fn=die_with_parent, process_group=0,
        )  # fmt: skip

    def children(self) -> list[psutil.Process]:
        assert self.runner
        return [
            child
            for child in psutil.Process(self.runner.pid).children(recursive=True)
            if "services.trainer.training" in child.cmdline()
        ]

    def folders(self) -> list[Path]:
        return list((self.world.servers.folder / "runner" / "runs").glob("*/*"))

    async def pause(self, job: JobDispatched) -> JobDispatched:
        """Let a training job's run save and let its device go; return its next dispatch."""
        offers = len(await self.world.all_told(DeviceOffered))
        await self.world.tell(
            JobStopping(
                tenant="acme", at=now(), job_id=job.job_id, run_id=job.run_id, offer_id=job.offer_id, why="pause"
            )
        )
        [paused] = await self.world.told(RunPaused, timeout=60)
        assert paused.lost_steps == 0
        offer = (await self.world.told(DeviceOffered, count=offers + 1))[-1]
        return msgspec.structs.replace(job, offer_id=offer.offer_id)

    async def dispatch(self, offer: DeviceOffered, steps: int = 90) -> JobDispatched:
        uri, digest = self.dataset
        job = JobDispatched(
            tenant="acme",
            at=now(),
            job_id=new_id("ftjob"),
            run_id=new_id("run"),
            offer_id=offer.offer_id,
            device_id=offer.device_id,
            recipe=Recipe(base_model=SHIPPED_MODEL, rank=4, epochs=50, batch_size=1, max_steps=steps, max_length=128),
            estimate=Estimate(
                seconds=30,
                seconds_low=10,
                seconds_high=90,
                cost=0.01,
                currency="EUR",
                memory_bytes=1,
                steps=steps,
                tokens=1,
            ),
            dataset_id="ds-1",
            dataset_digest=digest,
            dataset_uri=uri,
        )
        await self.world.tell(job)
        return job


@pytest.fixture(scope="session")
def tiny(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(shipped_model, tmp_path_factory.mktemp("models") / SHIPPED_MODEL)


@pytest.fixture
async def bench(world: World, tiny: Path) -> AsyncIterator[Bench]:
    storage = Storage.open(f"file://{world.servers.folder / 'storage'}")
    bench = Bench(world, storage, tiny)
    bench.dataset = await store_dataset(storage, world.servers.folder)
    platform = await world.platform("trainer")
    settings = world.settings(TrainerSettings, lease_seconds=6.0, grace_seconds=20.0, retry_last_seconds=0.0)
    assert isinstance(settings, TrainerSettings)
    async with world.service(await build(settings, platform), platform):
        await bench.start_runner()
        yield bench
        assert bench.runner
        bench.runner.terminate()
        await bench.runner.wait()


async def store_dataset(storage: Storage, folder: Path) -> tuple[str, str]:
    """Write a small dataset version and return its prefix and digest."""
    files = []
    for split, count in (("train", EXAMPLES), ("validation", 3), ("test", 3)):
        rows = [
            json.dumps(
                [
                    {"role": "user", "content": f"How do I save {n} coins?"},
                    {"role": "assistant", "content": f"Put {n} aside."},
                ]
            )
            for n in range(count)
        ]
        path = folder / f"{split}.parquet"
        pq.write_table(pa.table({"id": [f"{split}-{n}" for n in range(count)], "messages": rows}), path)
        stored = await storage.put_file(f"acme/datasets/d1/{split}.parquet", path)
        files.append({"name": path.name, "sha256": stored.sha256, "size": stored.size, "examples": count})
    manifest = json.dumps({"files": files}).encode()
    await storage.put_bytes("acme/datasets/d1/manifest.json", manifest)
    return "acme/datasets/d1", hashlib.sha256(manifest).hexdigest()


async def reached_step(world: World, step: int) -> None:
    async with asyncio.timeout(90):
        while not any(seen.step >= step for seen in await world.all_told(RunProgressed)):
            await asyncio.sleep(0.1)


async def test_a_dispatched_job_is_trained_and_its_adapter_stored(bench: Bench) -> None:
    [offer] = await bench.world.told(DeviceOffered, timeout=30)
    job = await bench.dispatch(offer, steps=30)
    [finished] = await bench.world.told(RunFinished, timeout=120)
    assert (finished.job_id, finished.steps, finished.interruptions) == (job.job_id, 30, 0)
    weights = await bench.storage.get_bytes(f"{finished.adapter_uri}/adapter_model.safetensors")
    assert hashlib.sha256(weights).hexdigest() == finished.sha256
    names = {key.rsplit("/", 1)[1] for key in await bench.storage.list(finished.adapter_uri)}
    assert names >= {"adapter_config.json", "README.md", "metrics.csv"}
    saved = await bench.world.all_told(CheckpointCommitted)
    assert len(saved) >= 2
    second, *_ = (await bench.world.told(DeviceOffered, count=2))[1:]
    assert second.offer_id != offer.offer_id


async def test_a_killed_child_and_a_killed_runner_cost_nothing_but_time(bench: Bench) -> None:
    [offer] = await bench.world.told(DeviceOffered, timeout=30)
    undisturbed = await bench.dispatch(offer)
    [reference] = await bench.world.told(RunFinished, timeout=150)

    offer = (await bench.world.told(DeviceOffered, count=2))[1]
    disturbed = await bench.dispatch(offer)
    await bench.world.told(
        CheckpointCommitted, count=len(await bench.world.all_told(CheckpointCommitted)) + 1, timeout=90
    )
    for child in bench.children():
        child.send_signal(signal.SIGKILL)
    [interrupted] = await bench.world.told(RunInterrupted)
    assert "SIGKILL" in interrupted.evidence
    assert interrupted.step > 0
    [recovered] = await bench.world.told(RunRecovered, timeout=60)
    assert recovered.step == interrupted.step

    assert bench.runner
    orphans = bench.children()
    bench.runner.kill()
    await bench.runner.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 10)
    assert not alive
    await bench.start_runner()
    await bench.world.told(RunRecovered, count=2, timeout=90)

    again = await bench.pause(disturbed)
    assert not bench.children()
    assert not bench.folders(), "the attempt's disk is free"
    await bench.world.tell(again)
    finished = (await bench.world.told(RunFinished, count=2, timeout=150))[1]
    assert (finished.interruptions, finished.pauses) == (2, 1)
    assert finished.sha256 == reference.sha256, "an interrupted run gives the bytes of an undisturbed one"
    fences = [grant.fence for grant in await bench.world.all_told(LeaseGranted) if grant.job_id != undisturbed.job_id]
    assert fences == sorted(set(fences))
    assert len(fences) == 4


async def test_a_cancelled_job_leaves_no_process_and_frees_its_device(bench: Bench) -> None:
    [offer] = await bench.world.told(DeviceOffered, timeout=30)
    job = await bench.dispatch(offer, steps=5000)
    await reached_step(bench.world, 1)
    await bench.world.tell(JobCancelled(tenant="acme", at=now(), job_id=job.job_id))
    [cancelled] = await bench.world.told(RunCancelled, timeout=40)
    assert cancelled.device_seconds > 0
    assert not bench.children()
    await bench.world.told(DeviceOffered, count=2)
    assert not await bench.world.all_told(RunFinished)


async def test_a_damaged_checkpoint_is_passed_over(bench: Bench) -> None:
    [offer] = await bench.world.told(DeviceOffered, timeout=30)
    await bench.dispatch(offer)
    saved = await bench.world.told(CheckpointCommitted, count=2, timeout=90)
    newest = bench.world.servers.folder / "storage" / saved[1].uri / "adapter_model.safetensors"
    for child in bench.children():
        child.suspend()
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    for child in bench.children():
        child.send_signal(signal.SIGKILL)
    [recovered] = await bench.world.told(RunRecovered, timeout=60)
    assert recovered.step == saved[0].step
    await bench.world.told(RunFinished, timeout=120)


async def test_data_without_its_hash_fails_with_a_reason(bench: Bench) -> None:
    [offer] = await bench.world.told(DeviceOffered, timeout=30)
    uri, _ = bench.dataset
    bench.dataset = (uri, "0" * 64)
    await bench.dispatch(offer)
    [failed] = await bench.world.told(RunFailed, timeout=60)
    assert failed.reason == "infrastructure"
    assert "not what was written" in failed.message
    assert "sha256" in failed.evidence
    assert len(await bench.world.all_told(RunInterrupted)) == 10


async def test_an_offer_that_no_longer_stands_is_declined(bench: Bench) -> None:
    [offer] = await bench.world.told(DeviceOffered, timeout=30)
    job = await bench.dispatch(msgspec.structs.replace(offer, offer_id="offer-old"))
    [declined] = await bench.world.told(DispatchDeclined)
    assert declined.job_id == job.job_id
    assert not await bench.world.all_told(LeaseGranted)
