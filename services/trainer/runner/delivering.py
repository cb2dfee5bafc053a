"""What an attempt leaves in storage, under a prefix of its fence; the control hears of it once it is whole."""

import asyncio
import shutil
from pathlib import Path

from libs.storage import Storage
from services.trainer.domain.card import card
from services.trainer.line import Done, Launch, Uploaded
from services.trainer.runner.reporting import Reporter, Stale
from services.trainer.training.checkpoints import MANIFEST
from services.trainer.training.protocol import Finished


class Delivery:
    """Puts one attempt's checkpoints and result on storage and reports them."""

    def __init__(self, launch: Launch, storage: Storage, reporter: Reporter) -> None:
        """Take the order, the storage and whom it is reported to."""
        self.launch = launch
        self.storage = storage
        self.reporter = reporter
        self.prefix = f"{launch.tenant}/runs/{launch.run_id}/fence-{launch.fence}"

    async def checkpoint(self, local: Path, step: int) -> None:
        """Put a checkpoint on storage, its manifest last, and report it; the local copy has done its work."""
        uri = f"{self.prefix}/step-{step}"
        size = 0
        for file in sorted(local.iterdir(), key=lambda each: each.name == MANIFEST):
            stored = await self.storage.put_file(f"{uri}/{file.name}", file)
            size += stored.size
        await self._tell(uri, Uploaded(step=step, uri=uri, size=size, sha256=stored.sha256))
        await asyncio.to_thread(shutil.rmtree, local)

    async def result(self, finished: Finished, memory: int) -> None:
        """Put what was trained on storage with its model card, and report it."""
        local = Path(finished.path)
        launch = self.launch
        text = card(
            launch.recipe, launch.run_id, launch.dataset_digest, finished.step, finished.train_loss, finished.digest
        )
        (local / "README.md").write_text(text)
        uri = f"{self.prefix}/adapter"
        for file in sorted(local.iterdir()):
            await self.storage.put_file(f"{uri}/{file.name}", file)
        await self._tell(
            uri,
            Done(
                adapter_uri=uri,
                sha256=finished.digest,
                size=finished.size,
                steps=finished.step,
                tokens=finished.tokens,
                trained_tokens=finished.trained_tokens,
                train_loss=finished.train_loss,
                eval_loss=finished.eval_loss,
                train_seconds=finished.seconds,
                memory_bytes=memory,
            ),
        )

    async def _tell(self, uri: str, what: Uploaded | Done) -> None:
        """Report what is on storage; refused, it belongs to nobody and is removed again."""
        try:
            await self.reporter.tell(what)
        except Stale:
            await self.storage.delete_prefix(uri)
            raise
