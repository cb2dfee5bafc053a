"""Objects against rows: what a row names is there, byte for byte, and what is there is named by a row.

Who vouches for an object: a file's row, a part's of an open upload, a dataset's manifest, a checkpoint's manifest, the
fact of a finished run and the rows of its adapter's files, a report's row. Work that was killed leaves objects nobody
names; they were never acknowledged to anybody, so they are leftovers to sweep, and counted as broken only when they are
old.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from msgspec import Struct

from contracts.evaluations import ReportReady
from contracts.runs import RunFinished
from deploy.invariants.looking import Eyes, Look
from deploy.invariants.offences import Offence
from libs.errors import NotFound
from libs.storage import Storage
from services.dataset.domain.versions import MANIFEST as DATASET_MANIFEST
from services.trainer.training.checkpoints import MANIFEST as CHECKPOINT_MANIFEST
from services.trainer.training.checkpoints import WEIGHTS

M = TypeVar("M")

LEFTOVER_SECONDS = 2 * 3600.0


class Sealed(Struct, frozen=True):
    """What a manifest says of one file."""

    sha256: str
    size: int
    name: str = ""


class DatasetManifest(Struct, frozen=True):
    """The part of a dataset's manifest that is read here."""

    files: tuple[Sealed, ...]


class CheckpointManifest(Struct, frozen=True):
    """The part of a checkpoint's manifest that is read here."""

    files: dict[str, Sealed]


async def look_at_objects(eyes: Eyes, look: Look, *, quick: bool) -> None:
    """Add to a look what lies in storage and who vouches for it; ``quick`` leaves out reading every byte."""
    look.objects = await eyes.storage.objects()
    async for key, sha256, who in vouched(eyes.storage, look):
        look.vouched[key] = (sha256, who)
    look.tolerated = tuple(_tolerated(look))
    for key, (sha256, _) in look.vouched.items():
        if sha256 and key in look.objects and not (quick and not key.endswith((DATASET_MANIFEST, CHECKPOINT_MANIFEST))):
            look.hashes[key] = await _hash(eyes, look, key)


async def vouched(storage: Storage, look: Look) -> AsyncIterator[tuple[str, str, str]]:
    """Yield key, sha256 and the thing that names them. The look knows its objects already."""
    for row in look.rows["gateway.file"]:
        if row["deleting_at"] is None:
            yield row["uri"], row["sha256"], row["file_id"]
    opened = {row["upload_id"] for row in look.rows["gateway.upload"] if row["status"] == "pending"}
    for row in look.rows["gateway.upload_part"]:
        if row["upload_id"] in opened:
            yield row["uri"], row["sha256"], row["part_id"]
    for row in look.rows["dataset.dataset"]:
        if row["state"] == "ready":
            key = f"{row['uri']}/{DATASET_MANIFEST}"
            yield key, row["digest"], row["dataset_id"]
            for file in (await _manifest(storage, key, DatasetManifest) or DatasetManifest(())).files:
                yield f"{row['uri']}/{file.name}", file.sha256, row["dataset_id"]
    for row in look.rows["trainer.checkpoint"]:
        if row["quarantined"] is None:
            key = f"{row['uri']}/{CHECKPOINT_MANIFEST}"
            yield key, row["sha256"], row["run_id"]
            for name, file in (
                await _manifest(storage, key, CheckpointManifest) or CheckpointManifest({})
            ).files.items():
                yield f"{row['uri']}/{name}", file.sha256, row["run_id"]
    deleted = {row["adapter_uri"] for row in look.rows["gateway.job"] if row["model_deleting_at"] is not None}
    for fact in look.of(RunFinished):
        if fact.adapter_uri not in deleted:
            yield _weights(look, fact.adapter_uri), fact.sha256, fact.run_id
    for row in look.rows["gateway.artifact"]:
        yield row["uri"], row["sha256"], row["job_id"]
    for row in look.rows["gateway.report"]:
        yield row["uri"], row["sha256"], row["job_id"]
    for report in look.of(ReportReady):
        yield report.pdf_uri, report.pdf_sha256, report.evaluation_id
        yield report.html_uri, report.html_sha256, report.evaluation_id
        yield report.json_uri, report.json_sha256, report.evaluation_id


def _weights(look: Look, uri: str) -> str:
    """Return the file of weights a run delivered: an adapter's or a whole model's, whichever lies there."""
    names = [f"{uri}/{name}" for name in WEIGHTS.values()]
    return next((name for name in names if name in look.objects), names[0])


def _tolerated(look: Look) -> Iterator[str]:
    """Yield the prefixes below which objects need no row of their own: work under a lease, what is set aside as bad."""
    for lease in look.rows["trainer.lease"]:
        if lease["ended_at"] is None:
            yield f"{lease['tenant']}/runs/{lease['run_id']}/fence-{lease['fence']}/"
    for row in look.rows["trainer.checkpoint"]:
        if row["quarantined"] is not None:
            yield f"{row['uri']}/"
    for row in look.rows["evaluator.evaluation"]:
        if row["state"] in ("queued", "running"):
            yield f"{row['tenant']}/reports/{row['id']}/"
    for row in look.rows["gateway.file"]:
        if row["deleting_at"] is not None and row["deleted_at"] is None:
            yield row["uri"]
    for row in look.rows["gateway.upload"]:
        if row["swept_at"] is None:
            yield f"{row['tenant']}/uploads/{row['upload_id']}/"
    for fact in look.of(RunFinished):
        yield f"{fact.adapter_uri}/"


def whole(look: Look) -> Iterator[Offence]:
    """Every object that a row names is there and has the bytes the row says."""
    for key, (sha256, who) in look.vouched.items():
        if key not in look.objects:
            yield Offence(key, f"{who} names it and it is not there")
        elif key in look.hashes and look.hashes[key] != sha256:
            yield Offence(key, f"{who} says sha256 {sha256[:12]}…, its bytes have {look.hashes[key][:12]}…")
    for row in look.rows["gateway.file"]:
        if row["deleted_at"] is not None and row["uri"] in look.objects:
            yield Offence(row["uri"], f"{row['file_id']} was deleted and its bytes are there")
    for row in look.rows["gateway.job"]:
        if row["model_deleted_at"] is not None:
            for key in look.objects:
                if key.startswith(f"{row['adapter_uri']}/"):
                    yield Offence(key, f"the model of {row['job_id']} was deleted and its bytes are there")


def owned(look: Look) -> Iterator[Offence]:
    """Every object has a row; a young one without is listed: work that was killed leaves such until it is swept."""
    for key in leftovers(look, 0.0):
        age = _age(look, key)
        yield Offence(key, "no row names it", harmless=age < LEFTOVER_SECONDS)


def leftovers(look: Look, older_than: float) -> list[str]:
    """Return the keys of objects that nobody names and that no work under way may be writing."""
    return [
        key
        for key in look.objects
        if key not in look.vouched and not key.startswith(look.tolerated) and _age(look, key) >= older_than
    ]


def _age(look: Look, key: str) -> float:
    return max(0.0, (datetime.now(UTC) - look.objects[key].modified).total_seconds())


async def _manifest(storage: Storage, key: str, kind: type[M]) -> M | None:
    try:
        return msgspec.json.decode(await storage.get_bytes(key), type=kind)
    except (NotFound, msgspec.DecodeError):
        return None


async def _hash(eyes: Eyes, look: Look, key: str) -> str:
    """Read an object's bytes once, as long as neither its size nor its time of writing changes."""
    found = look.objects[key]
    if (known := (key, found.size, found.modified)) not in eyes.hashed:
        digest = hashlib.sha256()
        try:
            async for chunk in eyes.storage.stream(key):
                digest.update(chunk)
        except (NotFound, FileNotFoundError):
            return ""
        eyes.hashed[known] = digest.hexdigest()
    return eyes.hashed[known]
