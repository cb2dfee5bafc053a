"""The SQL of checkpoints: committed under a fence, resumed from, quarantined, pruned. One function, one statement."""

from datetime import datetime

from libs.db import Transaction
from services.trainer.line import Quarantined, SavedBefore, Uploaded

ADD = """
    INSERT INTO trainer.checkpoint (uri, tenant, run_id, fence, step, size, sha256, committed_at)
    SELECT $3, run.tenant, run.run_id, $2, $4, $5, $6, $7
      FROM trainer.run JOIN trainer.lease USING (run_id)
     WHERE run_id = $1 AND lease.fence = $2 AND lease.ended_at IS NULL
        ON CONFLICT (uri) DO NOTHING
 RETURNING uri
"""


async def add(tx: Transaction, run_id: str, fence: int, what: Uploaded, at: datetime) -> bool:
    """Commit a checkpoint under its fence. ``False``: the fence is stale, or it was committed before."""
    return await tx.fetchval(ADD, run_id, fence, what.uri, what.step, what.size, what.sha256, at) is not None


WAS_COMMITTED = "SELECT EXISTS (SELECT FROM trainer.checkpoint WHERE uri = $1 AND fence = $2 AND sha256 = $3)"


async def was_committed(tx: Transaction, fence: int, what: Uploaded) -> bool:
    """Whether this very checkpoint was committed before."""
    return bool(await tx.fetchval(WAS_COMMITTED, what.uri, fence, what.sha256))


QUARANTINE = "UPDATE trainer.checkpoint SET quarantined = $3 WHERE uri = $1 AND run_id = $2"


async def quarantine(tx: Transaction, run_id: str, what: Quarantined) -> None:
    """Never resume from this checkpoint of the run again."""
    await tx.execute(QUARANTINE, what.uri, run_id, what.reason)


RESUMABLE = """
    SELECT uri, step, sha256
      FROM trainer.checkpoint
     WHERE run_id = $1 AND quarantined IS NULL
     ORDER BY step DESC, fence DESC
"""


async def resumable(tx: Transaction, run_id: str) -> tuple[SavedBefore, ...]:
    """Return what a run may resume from, newest first."""
    rows = await tx.fetch(RESUMABLE, run_id)
    return tuple(SavedBefore(step=row["step"], uri=row["uri"], sha256=row["sha256"]) for row in rows)


COMMITTED = "SELECT fence, array_agg(uri) AS uris FROM trainer.checkpoint GROUP BY fence"


async def committed(tx: Transaction) -> dict[int, list[str]]:
    """Return where checkpoints lie, quarantined ones too, by fence."""
    return {row["fence"]: row["uris"] for row in await tx.fetch(COMMITTED)}


PRUNABLE = """
    SELECT uri
      FROM (SELECT uri, row_number() OVER (PARTITION BY run_id ORDER BY step DESC, fence DESC) AS age
              FROM trainer.checkpoint
             WHERE quarantined IS NULL AND NOT unwanted) AS kept
     WHERE age > $1
     UNION ALL
    SELECT uri
      FROM trainer.checkpoint
     WHERE unwanted
     LIMIT 100
"""


async def prunable(tx: Transaction, keep: int) -> list[str]:
    """Return checkpoints that newer verified ones have made superfluous, or whose model was deleted."""
    return [row["uri"] for row in await tx.fetch(PRUNABLE, keep)]


UNWANTED = """
    UPDATE trainer.checkpoint
       SET unwanted = true
      FROM trainer.run
     WHERE run.run_id = checkpoint.run_id AND run.job_id = $1 AND run.state = 'succeeded'
"""


async def set_unwanted(tx: Transaction, job_id: str) -> None:
    """Let everything go that a finished job's run could be resumed from."""
    await tx.execute(UNWANTED, job_id)


FORGET = "DELETE FROM trainer.checkpoint WHERE uri = $1"


async def forget(tx: Transaction, uri: str) -> None:
    """Remove a pruned checkpoint's row, after its bytes."""
    await tx.execute(FORGET, uri)
