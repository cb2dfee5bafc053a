"""Reports that are refused: they cannot be true, or the lease they name has ended. Refused data is told."""

from typing import Any

import structlog

from contracts.runs import WriteFenced
from libs.db import Transaction
from libs.db.database import now
from services.trainer import queries, queries_checkpoints
from services.trainer.domain.trust import MOST_NUMBER, TOKEN
from services.trainer.line import Answered, Done, Report, Uploaded

log = structlog.get_logger()


async def refuse(tx: Transaction, said: Report, lease: Any, flaw: str) -> Answered:
    """A report that cannot be true is told, to the tenant whose lease it names."""
    log.warning("report refused", runner=said.runner[:40], fence=said.fence, why=flaw)
    if lease:
        await _fenced(tx, lease["tenant"], lease["run_id"], said, flaw)
    elif TOKEN.fullmatch(said.run_id) and (tenant := await queries.tenant_of(tx, said.run_id)):
        await _fenced(tx, tenant, said.run_id, said, flaw)
    return Answered(accepted=False)


async def late(tx: Transaction, said: Report, lease: Any) -> Answered:
    """A report under an ended lease: taken if it only repeats what was done, else refused; refused data is told."""
    log.info("stale report", run=said.run_id, fence=said.fence, what=type(said.what).__name__)
    match said.what:
        case Uploaded() if await queries_checkpoints.was_committed(tx, said.fence, said.what):
            return Answered()
        case Done() if lease["ended_how"] == "done":
            return Answered()
        case Uploaded() | Done():
            await _fenced(tx, lease["tenant"], said.run_id, said, "the lease has ended")
    return Answered(accepted=False)


async def _fenced(tx: Transaction, tenant: str, run_id: str, said: Report, why: str) -> None:
    await tx.tell(
        WriteFenced(
            tenant=tenant,
            at=now(),
            run_id=run_id,
            fence=min(abs(said.fence), MOST_NUMBER),
            what=type(said.what).__name__,
            why=why,
        )
    )
