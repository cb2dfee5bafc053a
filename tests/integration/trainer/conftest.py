"""Datasets and a house without torch for tests of leases and recovery."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.testing.platform import World
from tests.integration.trainer.house import House


@pytest.fixture
async def house(world: World, shipped_model: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Nothing runs yet; a dataset lies in storage, its bytes of no consequence."""
    house = House(world, str(shipped_model.parent), ("acme/datasets/d0", ""))
    monkeypatch.setenv("STAND_IN_HOLD", str(house.holds))
    files = []
    for split in ("train", "validation"):
        stored = await house.storage.put_bytes(f"acme/datasets/d0/{split}.parquet", split.encode())
        files.append({"name": f"{split}.parquet", "sha256": stored.sha256, "size": stored.size, "examples": 1})
    manifest = json.dumps({"files": files}).encode()
    await house.storage.put_bytes("acme/datasets/d0/manifest.json", manifest)
    house.dataset = ("acme/datasets/d0", hashlib.sha256(manifest).hexdigest())
    yield house
    await house.close()
