"""Rows that a client named, or the 404 that says the same for what is missing and what is somebody else's."""

from asyncpg import Record

from libs.db import Transaction
from libs.errors import NotFound
from services.gateway.queries import datasets, files, jobs


async def the_file(tx: Transaction, file_id: str, field: str | None = None) -> Record:
    """Find a file."""
    return _row(await files.get(tx, file_id), "file", file_id, field, "Upload it with POST /v1/files.")


async def the_dataset(tx: Transaction, dataset_id: str, field: str | None = None) -> Record:
    """Find a dataset."""
    return _row(
        await datasets.get(tx, dataset_id), "dataset", dataset_id, field, "GET /v1/datasets lists those there are."
    )


async def the_job(tx: Transaction, job_id: str) -> Record:
    """Find a job."""
    return _row(await jobs.get(tx, job_id), "job", job_id, None, "GET /v1/fine_tuning/jobs lists those there are.")


def _row(row: Record | None, what: str, name: str, field: str | None, fix: str) -> Record:
    if row is None:
        raise NotFound(f"There is no {what} {name[:100]!r}.", field=field, fix=fix)
    return row
