"""What an attempt needs before it can begin, every byte verified: its data, the newest whole checkpoint, its spec."""

import asyncio
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from libs.errors import NotFound
from libs.lm.models import resolve
from libs.storage import Corrupted, Storage
from services.trainer.line import DeviceFound, Launch, Quarantined, SavedBefore
from services.trainer.runner.reporting import Reporter
from services.trainer.training.checkpoints import MANIFEST, BadCheckpoint, require_run, verify
from services.trainer.training.protocol import AttemptSpec, Shelf

log = structlog.get_logger()


class Resumed(NamedTuple):
    """Where training goes on: a checkpoint's folder and its step."""

    path: Path
    step: int


class Fetching:
    """Fetches for one attempt into its folder."""

    def __init__(self, launch: Launch, storage: Storage, reporter: Reporter, folder: Path) -> None:
        """Take the order, where things are, whom a bad checkpoint is told to, and where they go."""
        self.launch = launch
        self.storage = storage
        self.reporter = reporter
        self.folder = folder

    async def spec(
        self, device: DeviceFound, models: Path, workers: int, shelf: Shelf | None, resumed: Resumed | None
    ) -> AttemptSpec:
        """Return what the child is told, with the data it names in place; ``UnknownModel`` where that is missing."""
        launch = self.launch
        return AttemptSpec(
            run_id=launch.run_id,
            attempt=launch.attempt,
            fence=launch.fence,
            recipe=launch.recipe,
            model_dir=str(resolve(models, launch.recipe.base_model)),
            train=str(await self._split("train")),
            validation=str(await self._split("validation")),
            work_dir=str(self.folder),
            resume_from=str(resumed.path) if resumed else None,
            checkpoint_every=launch.checkpoint_every,
            saving=launch.saving,
            threads=device.threads,
            device=device.torch_device,
            micro_tokens=launch.micro_tokens,
            seconds_left=launch.seconds_left,
            limit=launch.limit,
            processes=device.processes,
            workers=workers,
            shelf=shelf,
        )

    async def checkpoint(self) -> Resumed | None:
        """Return the newest checkpoint that verifies; each that does not is quarantined and told."""
        for saved in self.launch.checkpoints:
            try:
                return await self._verified(saved)
            except (BadCheckpoint, NotFound, Corrupted) as error:
                log.warning("checkpoint does not verify", run=self.launch.run_id, step=saved.step, error=str(error))
                await self.reporter.tell(Quarantined(step=saved.step, uri=saved.uri, reason=str(error)[:500]))
        return None

    async def _verified(self, saved: SavedBefore) -> Resumed:
        folder = self.folder / "resume" / f"step-{saved.step}"
        await self.storage.fetch(f"{saved.uri}/{MANIFEST}", folder / MANIFEST, saved.sha256)
        for key in await self.storage.list(saved.uri):
            await self.storage.fetch(key, folder / Path(key).name)
        require_run(await asyncio.to_thread(verify, folder), self.launch.run_id)
        return Resumed(folder, saved.step)

    async def _split(self, name: str) -> Path:
        manifest = self.folder / "dataset.json"
        if not manifest.exists():
            await self.storage.fetch(f"{self.launch.dataset_uri}/manifest.json", manifest, self.launch.dataset_digest)
        files = {entry["name"]: entry["sha256"] for entry in msgspec.json.decode(manifest.read_bytes())["files"]}
        file = f"{name}.parquet"
        return await self.storage.fetch(f"{self.launch.dataset_uri}/{file}", self.folder / file, files[file])
