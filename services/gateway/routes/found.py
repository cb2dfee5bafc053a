"""Rows that a client named, or the 404 that says the same for what is missing and what is somebody else's."""

from asyncpg import Record

from libs.db import Transaction
from libs.errors import NotFound
from services.gateway.domain.purposes import check_training_file
from services.gateway.queries import datasets, files, jobs, members, uploads


async def the_file(tx: Transaction, file_id: str, field: str | None = None) -> Record:
    """Find a file."""
    return _row(await files.get(tx, file_id), "file", file_id, field, "Upload it with POST /v1/files.")


async def the_training_file(tx: Transaction, file_id: str, field: str) -> Record:
    """Find a file that was uploaded to train on."""
    row = await the_file(tx, file_id, field)
    check_training_file(row, field)
    return row


async def the_upload(tx: Transaction, upload_id: str, *, hold: bool = False) -> Record:
    """Find an upload in parts; with ``hold`` nobody else changes it until the transaction ends."""
    row = await (uploads.hold if hold else uploads.get)(tx, upload_id)
    return _row(row, "upload", upload_id, "upload_id", "Begin one with POST /v1/uploads.")


async def the_dataset(tx: Transaction, dataset_id: str, field: str | None = None) -> Record:
    """Find a dataset."""
    return _row(
        await datasets.get(tx, dataset_id), "dataset", dataset_id, field, "GET /v1/datasets lists those there are."
    )


async def the_job(tx: Transaction, job_id: str) -> Record:
    """Find a job."""
    return _row(await jobs.get(tx, job_id), "job", job_id, None, "GET /v1/fine_tuning/jobs lists those there are.")


async def the_member(tx: Transaction, member: str, field: str | None = None) -> Record:
    """Find and hold a member."""
    return _row(await members.get(tx, member), "member", member, field, "GET /v1/members lists those there are.")


def _row(row: Record | None, what: str, name: str, field: str | None, fix: str) -> Record:
    if row is None:
        raise NotFound(f"There is no {what} {name[:100]!r}.", field=field, fix=fix)
    return row
