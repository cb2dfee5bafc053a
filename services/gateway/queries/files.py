"""Files: rows of what lies in storage. A row being deleted, or whose time is over, is seen by nobody."""

from datetime import datetime

from asyncpg import Record

from contracts.files import FileUploaded
from libs.db import Transaction

REFUSAL = """(
        SELECT CASE WHEN bool_and(state = 'refused') THEN max(refusal ->> 'message') END
          FROM gateway.dataset
         WHERE dataset.file_id = file.file_id AND state IN ('refused', 'ready')
    ) AS refused"""
"""Why no dataset could be made of a file, if that was tried and never succeeded."""

ADD = """
    INSERT INTO gateway.file (file_id, tenant, purpose, filename, size, sha256, uri, created_at, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
 RETURNING *, NULL::text AS refused
"""
GET = f"""
    SELECT *, {REFUSAL}
      FROM gateway.file
     WHERE file_id = $1
       AND deleting_at IS NULL
       AND (expires_at IS NULL OR expires_at > now())
"""
NEWEST_FIRST = f"""
    SELECT *, {REFUSAL}
      FROM gateway.file
     WHERE deleting_at IS NULL
       AND (expires_at IS NULL OR expires_at > now())
       AND ($1::text IS NULL OR purpose = $1)
       AND ($2::text IS NULL OR file_id < $2)
  ORDER BY file_id DESC
     LIMIT $3
"""
OLDEST_FIRST = f"""
    SELECT *, {REFUSAL}
      FROM gateway.file
     WHERE deleting_at IS NULL
       AND (expires_at IS NULL OR expires_at > now())
       AND ($1::text IS NULL OR purpose = $1)
       AND ($2::text IS NULL OR file_id > $2)
  ORDER BY file_id
     LIMIT $3
"""
BEING_IMPORTED = """
    SELECT EXISTS (
        SELECT
          FROM gateway.dataset
         WHERE state IN ('asked', 'importing')
           AND $1 IN (file_id, validation_file)
    )
"""
BEGIN_DELETION = """
    UPDATE gateway.file
       SET deleting_at = now()
     WHERE file_id = $1
       AND deleting_at IS NULL
 RETURNING uri
"""
BEGIN_EXPIRY = """
    UPDATE gateway.file
       SET deleting_at = now()
     WHERE expires_at <= now()
       AND deleting_at IS NULL
       AND NOT EXISTS (
               SELECT
                 FROM gateway.dataset
                WHERE state IN ('asked', 'importing')
                  AND file.file_id IN (dataset.file_id, dataset.validation_file))
 RETURNING tenant, file_id, uri
"""
END_DELETION = """
    UPDATE gateway.file
       SET deleted_at = now()
     WHERE file_id = $1
       AND deleting_at IS NOT NULL
       AND deleted_at IS NULL
 RETURNING file_id
"""
HALF_DELETED = """
    SELECT tenant, file_id, uri
      FROM gateway.file
     WHERE deleted_at IS NULL
       AND deleting_at < now() - make_interval(secs => $1)
"""


async def add(tx: Transaction, file: FileUploaded, filename: str, expires_at: datetime | None = None) -> Record:
    """Enter a file that is whole in storage."""
    row: Record | None = await tx.fetchrow(
        ADD,
        file.file_id,
        file.tenant,
        file.purpose,
        filename,
        file.size,
        file.sha256,
        file.uri,
        file.at,
        expires_at,
    )
    assert row is not None
    return row


async def get(tx: Transaction, file_id: str) -> Record | None:
    """Find a file."""
    return await tx.fetchrow(GET, file_id)


async def newest_first(tx: Transaction, purpose: str | None, after: str | None, limit: int) -> list[Record]:
    """List files, the latest first."""
    return await tx.fetch(NEWEST_FIRST, purpose, after, limit)


async def oldest_first(tx: Transaction, purpose: str | None, after: str | None, limit: int) -> list[Record]:
    """List files, the earliest first."""
    return await tx.fetch(OLDEST_FIRST, purpose, after, limit)


async def being_imported(tx: Transaction, file_id: str) -> bool:
    """Say whether an import still needs the file."""
    return bool(await tx.fetchval(BEING_IMPORTED, file_id))


async def begin_deletion(tx: Transaction, file_id: str) -> str | None:
    """Hide a file and return where its bytes are; ``None``: there is no such file."""
    uri: str | None = await tx.fetchval(BEGIN_DELETION, file_id)
    return uri


async def begin_expiry(tx: Transaction) -> list[Record]:
    """Hide the files whose time is over and that no import needs; return where their bytes are."""
    return await tx.fetch(BEGIN_EXPIRY)


async def end_deletion(tx: Transaction, file_id: str) -> bool:
    """Note that the bytes are gone. ``False``: somebody noted it already."""
    return await tx.fetchval(END_DELETION, file_id) is not None


async def half_deleted(tx: Transaction, older_than: float) -> list[Record]:
    """List files whose deletion began more than ``older_than`` seconds ago and did not end."""
    return await tx.fetch(HALF_DELETED, older_than)
