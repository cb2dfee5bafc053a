"""A dataset service on real servers, and files in its storage."""

import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from contracts.base import new_id
from contracts.datasets import DatasetAsked, SplitPlan
from contracts.recipes import SHIPPED_MODEL
from libs.embedded.home import Home
from libs.lm.shipped import install
from libs.service import App, Platform
from libs.testing.platform import World
from services.dataset.app import build
from services.dataset.settings import Settings

SAMPLES = Path(__file__).resolve().parents[3] / "libs" / "samples"
AT = datetime(2026, 11, 21, tzinfo=UTC)


class Desk:
    """Puts files into storage, asks for datasets of them, runs the service."""

    def __init__(self, world: World, platform: Platform, models: Path) -> None:
        self.world = world
        self.platform = platform
        self.models = models

    async def upload(self, data: bytes, tenant: str = "acme") -> tuple[str, str, str]:
        """Store a file; return its id, key and sha256."""
        file_id = new_id("file")
        key = f"{tenant}/files/{file_id}/chats.jsonl"
        await self.platform.storage.put_bytes(key, data)
        return file_id, key, hashlib.sha256(data).hexdigest()

    async def ask(
        self, data: bytes, *, tenant: str = "acme", validation: bytes = b"", **changes: object
    ) -> DatasetAsked:
        """Upload a file and tell that somebody wants a dataset of it."""
        file_id, uri, sha256 = await self.upload(data, tenant)
        asked = DatasetAsked(
            tenant=tenant,
            at=AT,
            dataset_id=new_id("ds"),
            file_id=file_id,
            uri=uri,
            sha256=sha256,
            base_model=SHIPPED_MODEL,
            split=SplitPlan(),
        )
        if validation:
            _, validation_uri, validation_sha256 = await self.upload(validation, tenant)
            changes |= {"validation_uri": validation_uri, "validation_sha256": validation_sha256}
        asked = msgspec.structs.replace(asked, **changes)
        await self.world.tell(asked)
        return asked

    async def app(self, platform: Platform | None = None, **changes: object) -> App:
        """Build the service on a platform, with other settings where they are given."""
        settings = self.world.settings(Settings, models_dir=str(self.models), **changes)
        assert isinstance(settings, Settings)
        return await build(settings, platform or self.platform)

    @contextlib.asynccontextmanager
    async def open(self, **changes: object) -> AsyncIterator[None]:
        """Run the service while inside."""
        async with self.world.service(await self.app(**changes), self.platform):
            yield


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder with the shipped model."""
    folder = Home.default().models
    install(folder)
    return folder


@pytest.fixture
async def desk(world: World, models: Path) -> Desk:
    return Desk(world, await world.platform("dataset"), models)
