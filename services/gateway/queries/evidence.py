"""What was left of the attempts of a job that were lost."""

from datetime import datetime

from asyncpg import Record

from libs.db import Transaction

ADD = """
    INSERT INTO gateway.evidence (evidence_id, tenant, job_id, at, what, evidence)
    SELECT $1, tenant, job_id, $3, $4, $5
      FROM gateway.job
     WHERE job_id = $2
        ON CONFLICT DO NOTHING
"""
OF_JOB = "SELECT at, what, evidence FROM gateway.evidence WHERE job_id = $1 ORDER BY evidence_id"


async def add(tx: Transaction, evidence_id: str, job_id: str, at: datetime, what: str, evidence: str) -> None:
    """Keep how an attempt ended, once."""
    await tx.execute(ADD, evidence_id, job_id, at, what, evidence)


async def of_job(tx: Transaction, job_id: str) -> list[Record]:
    """List how a job's attempts ended, the first first."""
    return await tx.fetch(OF_JOB, job_id)
