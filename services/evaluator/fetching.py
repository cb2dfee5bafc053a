"""Brings an adapter and a held-out split to this machine, and checks that they are what was stored."""

import asyncio
import contextlib
import hashlib
from pathlib import Path
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from contracts.runs import RunFinished
from libs.errors import NotFound, Rejected
from libs.lm.adapters import CONFIG, WEIGHTS, WHOLE
from libs.storage import Storage
from libs.storage.store import Corrupted
from services.evaluator.domain.owed import held_out

_turns: "WeakValueDictionary[Path, asyncio.Lock]" = WeakValueDictionary()
"""Folders that are being filled: whoever needs one waits for it."""

METRICS = "metrics.csv"
MANIFEST = "manifest.json"


class SplitFile(Struct, frozen=True):
    """What a manifest says of one Parquet file."""

    name: str
    examples: int
    sha256: str


class Manifest(Struct, frozen=True):
    """The part of a dataset version's manifest that the evaluator reads."""

    files: tuple[SplitFile, ...]


class HeldOut(Struct, frozen=True):
    """The part that is measured, and its file on this machine."""

    name: str
    path: Path


async def split(storage: Storage, run: RunFinished, cache: Path) -> HeldOut:
    """Fetch the held-out part (test, else validation), verified from the run's digest down.

    ``Corrupted`` if anything differs; ``Rejected`` when nothing was held out.
    """
    manifest = await storage.get_bytes(f"{run.dataset_uri}/{MANIFEST}")
    if hashlib.sha256(manifest).hexdigest() != run.dataset_digest:
        raise Corrupted(f"{run.dataset_uri}/{MANIFEST} is not the one this run was trained with. Restore it.")
    files = {each.name.removesuffix(".parquet"): each for each in msgspec.json.decode(manifest, type=Manifest).files}
    name = held_out({split: each.examples for split, each in files.items()})
    if not name:
        raise Rejected(
            "The data set holds nothing out, so nothing can be proven. Import it again with a test share above 0.",
            code="nothing_held_out",
        )
    path = cache / f"{files[name].sha256}.parquet"
    if not path.is_file():
        await storage.fetch(f"{run.dataset_uri}/{files[name].name}", path, files[name].sha256)
    return HeldOut(name, path)


async def adapter(storage: Storage, run: RunFinished, cache: Path) -> Path:
    """Return a folder with the run's adapter, or the whole model that it trained, fetched once.

    ``NotFound`` when it is no longer stored, wherever copies are left; ``Corrupted`` if its weights are not the run's.
    """
    folder = cache / run.sha256
    async with _turns.setdefault(folder, asyncio.Lock()):
        stored = await storage.list(run.adapter_uri)
        weights = WHOLE if f"{run.adapter_uri}/{WHOLE}" in stored else WEIGHTS
        if f"{run.adapter_uri}/{weights}" not in stored:
            raise NotFound(
                f"The weights that {run.job_id} trained are no longer in storage. Restore them, or train again."
            )
        for name, digest in ((WHOLE, run.sha256),) if weights == WHOLE else ((CONFIG, None), (WEIGHTS, run.sha256)):
            if not (folder / name).is_file():
                await storage.fetch(f"{run.adapter_uri}/{name}", folder / name, digest)
        with contextlib.suppress(NotFound):
            await storage.fetch(f"{run.adapter_uri}/{METRICS}", folder / METRICS)
    return folder
