"""When a checkpoint counts: it is whole, and proves it.

A checkpoint is staged, synced, described by ``MANIFEST.json`` (written last), synced, renamed to its final name and
the folder synced. Whoever resumes or uploads calls ``verify`` first: Hugging Face's trainer resumes silently, with
other weights, from a folder with a missing or altered file. Used by the child, the runner and the control: no torch.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

MANIFEST = "MANIFEST.json"
FORMAT = 1
REQUIRED = (
    "adapter_model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "metrics.csv",
)
"""What resuming needs, all of it: weights, optimiser, schedule, random states, position and counters."""


class BadCheckpoint(ValueError):
    """A checkpoint is not whole or not ours; the message names the file. Resume from the one before."""


class DiskFull(OSError):
    """Too little room to write a checkpoint safely; nothing was written."""


class Sealed(Struct, frozen=True):
    """One file of a checkpoint: its size in bytes and sha256."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a checkpoint is and what wrote it. ``data`` fingerprints the packed training data and its order."""

    run_id: str
    attempt: int
    fence: int
    step: int
    total_steps: int
    data: str
    model_revision: str
    recipe: str
    threads: int
    dtype: str
    device: str
    micro_tokens: int
    versions: dict[str, str]
    files: dict[str, Sealed] = {}
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Bytes of all files, the manifest itself left out."""
        return sum(each.size for each in self.files.values())


def commit(staged: Path, final: Path, manifest: Manifest) -> Manifest:
    """Seal the files in ``staged`` and make them appear at ``final`` at once; return the manifest with its files.

    After it returns the checkpoint survives power loss. A ``final`` that exists is replaced (an earlier attempt's same
    step). ``BadCheckpoint`` when a required file is missing: then nothing appears.
    """
    _require(staged, {file.name for file in staged.iterdir()})
    sealed = msgspec.structs.replace(manifest, files={name: _seal(staged / name) for name in _names(staged)})
    (staged / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(sealed), indent=1))
    _sync(staged / MANIFEST)
    _sync(staged)
    if final.exists():
        shutil.rmtree(final)
    staged.rename(final)
    _sync(final.parent)
    return sealed


def verify(path: Path) -> Manifest:
    """Read a checkpoint's every byte and return its manifest; ``BadCheckpoint`` names the file that is wrong."""
    manifest = read(path)
    _require(path, set(manifest.files))
    for name, expected in manifest.files.items():
        _check(path / name, expected)
    return manifest


def read(path: Path) -> Manifest:
    """Read a manifest without checking the files it names."""
    try:
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BadCheckpoint(f"{path.name}: {MANIFEST} is missing, so the checkpoint was never finished.") from None
    except msgspec.MsgspecError as error:
        raise BadCheckpoint(f"{path.name}: {MANIFEST} cannot be read ({error}).") from error
    if manifest.format != FORMAT:
        raise BadCheckpoint(f"{path.name}: {MANIFEST} has format {manifest.format}, this version reads {FORMAT}.")
    return manifest


def require_room(folder: Path, needed: int) -> None:
    """Raise ``DiskFull`` unless twice ``needed`` bytes are free where ``folder`` lies."""
    free = shutil.disk_usage(folder).free
    if free < 2 * needed:
        raise DiskFull(
            f"A checkpoint needs {2 * needed // 2**20} MiB of free disk and {free // 2**20} MiB are left. "
            "Nothing was written; the last checkpoint is whole. Free some space and resume."
        )


def stray(folder: Path) -> Iterator[Path]:
    """List what interrupted saves left under a checkpoints folder."""
    return folder.glob(".staging-*")


def newest(folder: Path) -> list[Path]:
    """List the committed checkpoints under a folder, newest step first; not verified."""
    found = (each for each in folder.glob("step-*") if each.name.removeprefix("step-").isdigit())
    return sorted(found, key=lambda each: int(each.name.removeprefix("step-")), reverse=True)


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.name != MANIFEST)


def _require(path: Path, present: set[str]) -> None:
    missing = [name for name in REQUIRED if name not in present]
    if missing:
        raise BadCheckpoint(f"{path.name}: {missing[0]} is missing, resuming would go on with other numbers.")


def _seal(file: Path) -> Sealed:
    _sync(file)
    with file.open("rb") as stream:
        return Sealed(file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def _check(file: Path, expected: Sealed) -> None:
    if not file.is_file():
        raise BadCheckpoint(f"{file.parent.name}: {file.name} is missing.")
    if file.stat().st_size != expected.size:
        raise BadCheckpoint(f"{file.parent.name}: {file.name} has {file.stat().st_size} bytes, not {expected.size}.")
    with file.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != expected.sha256:
            raise BadCheckpoint(f"{file.parent.name}: {file.name} is not the bytes that were saved.")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
