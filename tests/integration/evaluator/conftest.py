"""A tiny model, adapters that do nothing, harm or help, a finished run in storage, and an evaluator for it."""

import hashlib
import json
import os
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from contracts.recipes import SHIPPED_MODEL
from contracts.runs import RunFinished
from libs.db.database import now
from libs.lm.adapters import CONFIG, TARGETS, WEIGHTS, AdapterConfig, write_config
from libs.service import App, Platform
from libs.storage import Storage
from libs.testing.models import tiny_model
from libs.testing.platform import World
from services.evaluator.app import build
from services.evaluator.settings import Settings

os.environ["HF_HUB_OFFLINE"] = "1"

RANK = 4
PATIENCE = 240.0
SIZES = {
    "q": (64, 64), "k": (64, 32), "v": (64, 32), "o": (64, 64), "gate": (64, 128), "up": (64, 128), "down": (128, 64)
}  # fmt: skip
TALKS = [
    [
        {"role": "user", "content": f"I owe {n * 700} dollars and cannot sleep. What is first?"},
        {"role": "assistant", "content": f"Breathe. Let us look at the {n * 700} together, one small bill at a time."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "Then we celebrate the first one paid, because you earned that."},
    ]
    for n in range(1, 13)
]


@pytest.fixture(scope="session")
def models(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder in which the shipped model's name stands for a tiny random one."""
    folder = tmp_path_factory.mktemp("models")
    tiny_model(shipped_model, folder / SHIPPED_MODEL)
    return folder


def adapter(folder: Path, strength: float) -> Path:
    """Write a LoRA for the tiny model whose B matrices are random and this strong; 0.0 does nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(5)
    weights = {}
    for layer in range(2):
        for target in TARGETS:
            inputs, outputs = SIZES[target.split("_")[0]]
            part = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            name = f"base_model.model.model.layers.{layer}.{part}.{target}"
            weights[f"{name}.lora_A.weight"] = chance.normal(size=(RANK, inputs)).astype(np.float32)
            weights[f"{name}.lora_B.weight"] = strength * chance.normal(size=(outputs, RANK)).astype(np.float32)
    save_file(weights, folder / WEIGHTS)
    write_config(folder, AdapterConfig(base_model_name_or_path=SHIPPED_MODEL, r=RANK, lora_alpha=2 * RANK))
    return folder


def split(path: Path, talks: list[list[dict[str, str]]]) -> Path:
    """Write conversations as the dataset service does."""
    rows = {"id": [f"ex-{n}" for n in range(len(talks))], "messages": [json.dumps(each) for each in talks]}
    pq.write_table(pa.table(rows, schema=pa.schema([("id", pa.string()), ("messages", pa.string())])), path)
    return path


def split_of_pairs(path: Path, talks: list[list[dict[str, str]]]) -> Path:
    """Write pairs as the dataset service does: each talk's last reply against a cold one."""
    rows = {
        "id": [f"ex-{n}" for n in range(len(talks))],
        "messages": [json.dumps(_muted(each[:-1]) + each[-1:]) for each in talks],
        "rejected": [
            json.dumps([*_muted(each[:-1]), {"role": "assistant", "content": f"Pay it. {n}"}])
            for n, each in enumerate(talks)
        ],
    }
    pq.write_table(pa.table(rows), path)
    return path


def _muted(turns: list[dict[str, str]]) -> list[dict[str, object]]:
    return [{**each, "weight": 0} if each["role"] == "assistant" else dict(each) for each in turns]


@dataclass
class Finished:
    """Puts a finished run's adapter and data into storage and gives the fact that tells it."""

    storage: Storage
    folder: Path

    async def run(self, strength: float, *, number: int = 1, held_out: int = 12) -> RunFinished:
        made = adapter(self.folder / f"adapter-{number}", strength)
        (made / "metrics.csv").write_text("step,train_loss,eval_loss\n1,10.8,\n2,10.6,10.7\n3,10.5,10.6\n")
        uri = f"acme/runs/run-{number}/adapter"
        for name in (WEIGHTS, CONFIG, "metrics.csv"):
            await self.storage.put_file(f"{uri}/{name}", made / name)
        digest, data = await self._dataset(held_out)
        return RunFinished(
            tenant="acme", at=now(), run_id=f"run-{number}", job_id=f"job-{number}", fence=1, base_model=SHIPPED_MODEL,
            dataset_id="ds-1", dataset_digest=digest, dataset_uri=data, adapter_uri=uri,
            sha256=hashlib.sha256((made / WEIGHTS).read_bytes()).hexdigest(), size=(made / WEIGHTS).stat().st_size,
            steps=3, tokens=900, trained_tokens=400, device_seconds=3.0, train_seconds=2.0, memory_bytes=10**8,
            train_loss=10.5, interruptions=0, seed=42,
        )  # fmt: skip

    async def _dataset(self, held_out: int) -> tuple[str, str]:
        files = []
        for name, talks in (("train", TALKS), ("validation", []), ("test", TALKS[:held_out])):
            path = split(self.folder / f"{name}.parquet", talks)
            body = path.read_bytes()
            sha256 = hashlib.sha256(body).hexdigest()
            files.append({"name": path.name, "examples": len(talks), "size": len(body), "sha256": sha256})
        manifest = json.dumps({"schema": 1, "files": files}).encode()
        digest = hashlib.sha256(manifest).hexdigest()
        uri = f"acme/datasets/{digest}"
        for each in files:
            await self.storage.put_file(f"{uri}/{each['name']}", self.folder / str(each["name"]))
        await self.storage.put_bytes(f"{uri}/manifest.json", manifest)
        return digest, uri


class Bench:
    """An evaluator in this process, its own platform, and what a trainer would have left in storage."""

    def __init__(self, world: World, platform: Platform, settings: Settings, finished: Finished) -> None:
        self.world = world
        self.platform = platform
        self.settings = settings
        self.finished = finished

    async def app(self, **changes: object) -> App:
        return await build(msgspec.structs.replace(self.settings, **changes), self.platform)

    def running(self, app: App) -> AbstractAsyncContextManager[None]:
        return self.world.service(app, self.platform)


@pytest.fixture
async def bench(world: World, models: Path, tmp_path: Path) -> Bench:
    settings = world.settings(
        Settings,
        models_dir=str(models),
        data_dir=str(tmp_path),
        precision="float32",
        threads=1,
        reply_tokens=8,
        replies=2,
    )
    assert isinstance(settings, Settings)
    platform = await world.platform("evaluator")
    return Bench(world, platform, settings, Finished(platform.storage, tmp_path))
