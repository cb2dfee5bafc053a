"""What a job leaves behind: its files and its report."""

from asyncpg import Record

from libs.db import Transaction

ADD_ARTIFACT = """
    INSERT INTO gateway.artifact (job_id, name, tenant, size, sha256, uri)
    VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
"""
ARTIFACTS = "SELECT * FROM gateway.artifact WHERE job_id = $1 ORDER BY name"
ARTIFACT = "SELECT * FROM gateway.artifact WHERE job_id = $1 AND name = $2"
SET_REPORT = """
    INSERT INTO gateway.report (job_id, format, tenant, evaluation_id, uri, sha256)
    SELECT job_id, $2, tenant, $3, $4, $5
      FROM gateway.job
     WHERE job_id = $1
        ON CONFLICT (job_id, format) DO UPDATE
       SET evaluation_id = excluded.evaluation_id, uri = excluded.uri, sha256 = excluded.sha256
"""
REPORT = "SELECT * FROM gateway.report WHERE job_id = $1 AND format = $2"


async def add_artifact(tx: Transaction, job_id: str, name: str, size: int, sha256: str, uri: str) -> None:
    """Enter a file that training made."""
    await tx.execute(ADD_ARTIFACT, job_id, name, tx.tenant, size, sha256, uri)


async def artifacts(tx: Transaction, job_id: str) -> list[Record]:
    """List the files that training made, by name."""
    return await tx.fetch(ARTIFACTS, job_id)


async def artifact(tx: Transaction, job_id: str, name: str) -> Record | None:
    """Find one file that training made."""
    return await tx.fetchrow(ARTIFACT, job_id, name)


async def set_report(tx: Transaction, job_id: str, format: str, evaluation_id: str, uri: str, sha256: str) -> None:
    """Note where a job's report is, in one of its formats."""
    await tx.execute(SET_REPORT, job_id, format, evaluation_id, uri, sha256)


async def report(tx: Transaction, job_id: str, format: str) -> Record | None:
    """Find a job's report in one format."""
    return await tx.fetchrow(REPORT, job_id, format)
