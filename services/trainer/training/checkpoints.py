"""When a checkpoint counts: it is whole, and proves it.

A checkpoint is staged, synced, described by ``MANIFEST.json`` (written last, sealed), synced, renamed to its final name
and the folder synced. Whoever resumes or uploads calls ``verify`` first: Hugging Face's trainer resumes silently, with
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
WEIGHTS = {"lora": "adapter_model.safetensors", "full": "model.safetensors"}
"""The file that holds what is trained, by method."""
ALWAYS = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "metrics.csv")


class BadCheckpoint(ValueError):
    """A checkpoint is not whole or not ours; the message names the file. Resume from the one before."""


class DiskFull(OSError):
    """Too little room to write a checkpoint safely; nothing was written."""


class Sealed(Struct, frozen=True):
    """One file of a checkpoint: its size in bytes and sha256."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a checkpoint is and what wrote it. ``data`` fingerprints the packed training data and its order.

    ``processes`` trained together; each has a random state of its own. ``seal`` is the sha256 of everything else here.
    """

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
    method: str = "lora"
    processes: int = 1
    files: dict[str, Sealed] = {}
    seal: str = ""
    format: int = FORMAT

    @property
    def size(self) -> int:
        """Bytes of all files, the manifest itself left out."""
        return sum(each.size for each in self.files.values())

    @property
    def required(self) -> tuple[str, ...]:
        """What resuming needs, all of it: weights, optimiser, schedule, random states, position and counters."""
        alone = self.processes == 1
        random = ["rng_state.pth"] if alone else [f"rng_state_{rank}.pth" for rank in range(self.processes)]
        return (WEIGHTS[self.method], *ALWAYS, *random)


def commit(staged: Path, final: Path, manifest: Manifest) -> Manifest:
    """Seal the files in ``staged`` and make them appear at ``final`` at once; return the manifest with its files.

    After it returns the checkpoint survives power loss. A ``final`` that exists is replaced (an earlier attempt's same
    step). ``BadCheckpoint`` when a required file is missing: then nothing appears.
    """
    _require(staged, manifest, {file.name for file in staged.iterdir()})
    sealed = msgspec.structs.replace(manifest, files={name: synced(staged / name) for name in _names(staged)})
    sealed = msgspec.structs.replace(sealed, seal=_sealed(sealed))
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
    _require(path, manifest, set(manifest.files))
    for name, expected in manifest.files.items():
        _check(path / name, expected)
    return manifest


def read(path: Path) -> Manifest:
    """Read a manifest, and that nobody altered it, without checking the files it names."""
    try:
        data = (path / MANIFEST).read_bytes()
        _require_format(path, msgspec.json.decode(data, type=_Versioned))
        manifest = msgspec.json.decode(data, type=Manifest)
    except FileNotFoundError:
        raise BadCheckpoint(f"{path.name}: {MANIFEST} is missing, so the checkpoint was never finished.") from None
    except msgspec.MsgspecError as error:
        raise BadCheckpoint(f"{path.name}: {MANIFEST} cannot be read ({error}).") from error
    if manifest.method not in WEIGHTS or manifest.seal != _sealed(manifest):
        raise BadCheckpoint(f"{path.name}: {MANIFEST} is not as it was written: its seal does not fit.")
    return manifest


def require_run(manifest: Manifest, run_id: str) -> None:
    """Raise ``BadCheckpoint`` when a checkpoint is another run's."""
    if manifest.run_id != run_id:
        raise BadCheckpoint(f"step-{manifest.step} belongs to {manifest.run_id}: going on would mix two runs.")


def synced(file: Path) -> Sealed:
    """Bring a file to the disk for certain, and return its size and sha256."""
    _sync(file)
    with file.open("rb") as stream:
        return Sealed(file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


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


class _Versioned(Struct, frozen=True):
    """The part of a manifest that every format has."""

    format: int


def _require_format(path: Path, found: _Versioned) -> None:
    if found.format != FORMAT:
        raise BadCheckpoint(
            f"{path.name}: {MANIFEST} has format {found.format}, this version reads {FORMAT}. "
            "A newer Woodshed wrote it: update this machine."
        )


def _sealed(manifest: Manifest) -> str:
    """The sha256 of a manifest without its seal; any value altered gives another."""
    unsealed = msgspec.structs.replace(manifest, seal="")
    return hashlib.sha256(msgspec.json.encode(unsealed, order="deterministic")).hexdigest()


def _require(path: Path, manifest: Manifest, present: set[str]) -> None:
    missing = [name for name in manifest.required if name not in present]
    if missing:
        raise BadCheckpoint(f"{path.name}: {missing[0]} is missing, resuming would go on with other numbers.")


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
