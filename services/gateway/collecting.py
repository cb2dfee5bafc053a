"""After training: list the adapter's files with their hashes, and leave the step figures as a file of their own.

A work loop, since reading files takes longer than a reaction may: woken by a finished run,
backed up by a poll. It also ends deletions that a crash left half done.
"""

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple

import structlog
from asyncpg import Record

from contracts.files import FileDeleted, FileUploaded
from contracts.jobs import ModelDeleted
from libs.db import DB_AWAY, Database
from libs.errors import WoodshedError
from libs.storage import AWAY, Storage, Stored
from libs.waking import rest
from services.gateway.domain.curve import as_result
from services.gateway.domain.naming import result_file_id
from services.gateway.queries import files as file_queries
from services.gateway.queries import jobs as job_queries
from services.gateway.queries import models as model_queries
from services.gateway.queries import results as queries

log = structlog.get_logger()

POLL = 5.0
HALF_DELETED_AFTER = 60.0
METRICS = "metrics.csv"
RESULT_NAME = "step_metrics.csv"
WEIGHTS = ("adapter_model.safetensors", "model.safetensors")
"""What training gives, by method: an adapter, or the base trained as a whole."""


class Found(NamedTuple):
    """A file of an adapter, as it lies in storage."""

    name: str
    key: str
    stored: Stored


class Collector:
    """Lists what finished runs left in storage."""

    def __init__(self, db: Database, storage: Storage, wake: asyncio.Event) -> None:
        self._db = db
        self._storage = storage
        self._wake = wake

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.collect()
                await self.end_deletions()
            except (*DB_AWAY, *AWAY) as error:
                log.warning("collecting pauses", error=repr(error))
            await rest(self._wake, POLL)

    async def collect(self) -> None:
        """List the files of every adapter that is not listed yet."""
        async with self._db.across_tenants() as tx:
            jobs = await job_queries.uncollected(tx)
        for job in jobs:
            try:
                await self._collect(job)
            except WoodshedError as error:
                log.warning("an adapter cannot be listed", job=job["job_id"], error=error.message)

    async def end_deletions(self) -> None:
        """Finish what a crash interrupted."""
        async with self._db.across_tenants() as tx:
            files = await file_queries.half_deleted(tx, HALF_DELETED_AFTER)
        for file in files:
            await delete_bytes(self._db, self._storage, file["tenant"], file["file_id"], file["uri"])
        async with self._db.across_tenants() as tx:
            models = await model_queries.half_deleted(tx, HALF_DELETED_AFTER)
        for model in models:
            await delete_model_bytes(self._db, self._storage, model)

    async def _collect(self, job: Record) -> None:
        found = [await self._hash(job, key) for key in await self._storage.list(job["adapter_uri"])]
        if not any(file.name in WEIGHTS and file.stored.sha256 == job["adapter_sha256"] for file in found):
            raise WoodshedError(f"{job['adapter_uri']} has no weights with the sha256 that the run told.")
        result = await self._copy_metrics(job, found)
        async with self._db.transaction(job["tenant"]) as tx:
            if result:
                await file_queries.add(tx, result, RESULT_NAME)
            if not await job_queries.set_collected(tx, job["job_id"], result.file_id if result else None):
                return
            for file in found:
                await queries.add_artifact(tx, job["job_id"], file.name, file.stored.size, file.stored.sha256, file.key)
            if result:
                await tx.tell(result)

    async def _hash(self, job: Record, key: str) -> Found:
        digest, size = hashlib.sha256(), 0
        async for chunk in self._storage.stream(key):
            digest.update(chunk)
            size += len(chunk)
        name = str(PurePosixPath(key).relative_to(job["adapter_uri"]))
        return Found(name, key, Stored(size, digest.hexdigest()))

    async def _copy_metrics(self, job: Record, found: list[Found]) -> FileUploaded | None:
        """Write the figures by step down as a file of their own, which may be deleted while the adapter stays whole."""
        metrics = next((file for file in found if file.name == METRICS), None)
        if metrics is None:
            return None
        file_id = result_file_id(job["job_id"])
        key = f"{job['tenant']}/files/{file_id}/{RESULT_NAME}"
        curve = (await self._storage.get_bytes(metrics.key)).decode(errors="replace")
        stored = await self._storage.put_bytes(key, as_result(curve).encode())
        return FileUploaded(
            tenant=job["tenant"],
            at=datetime.now(UTC),
            file_id=file_id,
            purpose="fine-tune-results",
            size=stored.size,
            sha256=stored.sha256,
            uri=key,
        )


async def delete_bytes(db: Database, storage: Storage, tenant: str, file_id: str, uri: str) -> None:
    """Delete a hidden file's bytes, and tell it once they are gone."""
    await storage.delete(uri)
    async with db.transaction(tenant) as tx:
        if await file_queries.end_deletion(tx, file_id):
            await tx.tell(FileDeleted(tenant=tenant, at=datetime.now(UTC), file_id=file_id))


async def delete_model_bytes(db: Database, storage: Storage, model: Record) -> None:
    """Delete the files of a hidden model's adapter, and tell it once they are gone."""
    await storage.delete_prefix(model["adapter_uri"])
    async with db.transaction(model["tenant"]) as tx:
        if await model_queries.end_deletion(tx, model["job_id"]):
            await tx.tell(
                ModelDeleted(
                    tenant=model["tenant"],
                    at=datetime.now(UTC),
                    job_id=model["job_id"],
                    model=model["fine_tuned_model"],
                    adapter_uri=model["adapter_uri"],
                )
            )
