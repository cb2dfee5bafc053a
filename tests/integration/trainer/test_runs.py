"""A run on real servers with a real training child: it finishes, recovers from kills, and can be cancelled.

Starting a child that loads PyTorch is what takes time here, so each start-up shows several things.
"""

import asyncio
import contextlib
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
    LeaseGranted,
    RunCancelled,
    RunFinished,
    RunInterrupted,
    RunPaused,
    RunRecovered,
)
from libs.db.database import now
from libs.embedded.supervisor import die_with_parent
from libs.storage import Storage
from libs.testing.family import trainings, waiting
from libs.testing.models import tiny_model
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS
from services.trainer.app import build
from services.trainer.settings import TrainerSettings
from tests.integration.trainer.house import standing_offer, until

EXAMPLES = 120
STEPS = 90


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
            "WOODSHED_WARM_FREE_GB": "0.1",
        }
        self.runner = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.trainer.runner", env=os.environ | settings,
            preexec_fn=die_with_parent, process_group=0,
        )  # fmt: skip

    def children(self) -> list[psutil.Process]:
        assert self.runner
        return trainings(self.runner.pid)

    async def trains(self) -> list[psutil.Process]:
        return self.children()

    async def waiting(self) -> list[psutil.Process]:
        assert self.runner
        return waiting(self.runner.pid)

    async def stands_still(self) -> bool:
        """Suspend the children, unless one of them has saved what is not stored yet."""
        for child in self.children():
            child.suspend()
        if not list((self.world.servers.folder / "runner" / "runs").glob("*/*/checkpoints/*")):
            return True
        for child in self.children():
            child.resume()
        return False

    async def recovers(self, times: int) -> None:
        """Wait until runs recovered so often; the child only runs between two looks, so it cannot finish before."""

        async def seen() -> bool:
            for child in (children := self.children()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.suspend()
            if len(await self.world.all_told(RunRecovered)) >= times:
                return True
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.resume()
            return False

        await until(seen, timeout=240)

    async def is_clean(self) -> bool:
        """Whether no attempt has left anything on the runner's disk."""
        return not list((self.world.servers.folder / "runner" / "runs").glob("*/*"))

    async def offer(self) -> DeviceOffered:
        """Wait for the offer that stands for the device; a runner that has just started measures it first."""
        return await standing_offer(self.world, "bench-cpu", timeout=240)

    async def pause(self, job: JobDispatched) -> JobDispatched:
        """Let a training job's run save and let its device go; return its next dispatch.

        Its child is suspended until the order has come to it, so that it cannot end before.
        """
        children = self.children()
        for child in children:
            child.suspend()
        await self.world.tell(
            JobStopping(
                tenant="acme", at=now(), job_id=job.job_id, run_id=job.run_id, offer_id=job.offer_id, why="pause"
            )
        )
        await until(lambda: asked_to_end(children))
        for child in children:
            child.resume()
        [paused] = await self.world.told(RunPaused)
        assert paused.lost_steps == 0
        return msgspec.structs.replace(job, offer_id=(await self.offer()).offer_id)

    async def dispatch(self, offer: DeviceOffered, steps: int = STEPS) -> JobDispatched:
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


async def asked_to_end(children: list[psutil.Process]) -> bool:
    """Whether SIGTERM waits for each of these suspended processes."""
    pending = [Path(f"/proc/{child.pid}/status").read_text().split("ShdPnd:")[1].split()[0] for child in children]
    return all(int(signals, 16) >> (signal.SIGTERM - 1) & 1 for signals in pending)


@pytest.fixture(scope="session")
def tiny(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(shipped_model, tmp_path_factory.mktemp("models") / SHIPPED_MODEL)


@pytest.fixture
async def bench(world: World, tiny: Path) -> AsyncIterator[Bench]:
    storage = Storage.open(f"file://{world.servers.folder / 'storage'}")
    bench = Bench(world, storage, tiny)
    bench.dataset = await store_dataset(storage, world.servers.folder)
    platform = await world.platform("trainer")
    settings = world.settings(TrainerSettings, lease_seconds=30.0, grace_seconds=60.0, retry_last_seconds=0.0)
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


async def test_a_killed_child_and_a_killed_runner_cost_nothing_but_time(bench: Bench) -> None:
    """The first run is left alone and shows what the disturbed one must come to.

    It is carried out by the process that waited for it; those of the disturbed one are started when it is there.
    """
    [warm] = await until(bench.waiting, timeout=240)
    undisturbed = await bench.dispatch(await bench.offer())
    assert await until(bench.trains, timeout=240) == [warm]
    [reference] = await bench.world.told(RunFinished, timeout=240)
    assert (reference.job_id, reference.steps, reference.interruptions) == (undisturbed.job_id, STEPS, 0)
    weights = await bench.storage.get_bytes(f"{reference.adapter_uri}/adapter_model.safetensors")
    assert hashlib.sha256(weights).hexdigest() == reference.sha256
    names = {key.rsplit("/", 1)[1] for key in await bench.storage.list(reference.adapter_uri)}
    assert names >= {"adapter_config.json", "README.md", "metrics.csv"}
    saved = len(await bench.world.all_told(CheckpointCommitted))
    assert saved >= 2

    disturbed = await bench.dispatch(await bench.offer())
    await bench.world.told(CheckpointCommitted, count=saved + 1, timeout=240)
    for child in bench.children():
        child.send_signal(signal.SIGKILL)
    [interrupted] = await bench.world.told(RunInterrupted)
    assert "SIGKILL" in interrupted.evidence
    assert interrupted.step > 0
    [recovered] = await bench.world.told(RunRecovered, timeout=240)
    assert recovered.step == interrupted.step

    assert bench.runner
    orphans = bench.children()
    bench.runner.kill()
    await bench.runner.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, orphans, 30)
    assert not alive
    await bench.start_runner()
    await bench.recovers(2)
    again = await bench.pause(disturbed)
    assert not bench.children()
    await until(bench.is_clean)
    await bench.world.tell(again)
    finished = (await bench.world.told(RunFinished, count=2, timeout=240))[1]
    assert (finished.interruptions, finished.pauses) == (2, 1)
    assert finished.sha256 == reference.sha256, "an interrupted run gives the bytes of an undisturbed one"
    fences = [grant.fence for grant in await bench.world.all_told(LeaseGranted) if grant.job_id != undisturbed.job_id]
    assert fences == sorted(set(fences))
    assert len(fences) == 4


async def test_a_damaged_checkpoint_is_passed_over_and_a_cancelled_job_leaves_no_process(bench: Bench) -> None:
    job = await bench.dispatch(await bench.offer(), steps=1500)
    await bench.world.told(CheckpointCommitted, count=2, timeout=240)
    await until(bench.stands_still)
    saved = sorted(await bench.world.all_told(CheckpointCommitted), key=lambda each: each.step)
    newest = bench.world.servers.folder / "storage" / saved[-1].uri / "adapter_model.safetensors"
    damaged = bytearray(newest.read_bytes())
    damaged[-1] ^= 1
    newest.write_bytes(damaged)
    for child in bench.children():
        child.send_signal(signal.SIGKILL)
    [recovered] = await bench.world.told(RunRecovered, timeout=240)
    assert recovered.step == saved[-2].step

    await bench.world.tell(JobCancelled(tenant="acme", at=now(), job_id=job.job_id))
    [cancelled] = await bench.world.told(RunCancelled)
    assert cancelled.device_seconds > 0
    assert not bench.children()
    await bench.offer()
    assert not await bench.world.all_told(RunFinished)
