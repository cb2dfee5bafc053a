"""What an organisation has right now, of what it may not have without end."""

from libs.db import Transaction

UNFINISHED = "SELECT count(*) FROM gateway.job WHERE status NOT IN ('succeeded', 'failed', 'cancelled')"
KEPT = "SELECT coalesce(sum(size), 0)::bigint FROM gateway.file WHERE deleting_at IS NULL"


async def unfinished_jobs(tx: Transaction) -> int:
    """Count the jobs that have not ended."""
    return int(await tx.fetchval(UNFINISHED))


async def bytes_kept(tx: Transaction) -> int:
    """Add up the sizes of all files."""
    return int(await tx.fetchval(KEPT))
