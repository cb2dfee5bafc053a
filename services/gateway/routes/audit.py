"""The audit log: read it, and see that nobody changed it."""

from typing import Annotated

from litestar import Router, get
from litestar.params import FromQuery

from libs.db import Transaction
from services.gateway.dependencies import Tx
from services.gateway.domain import people
from services.gateway.domain.chain import Walk
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.listing import up_to
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import audit as queries

BATCH = 1000


@get("/", operation_id="listAudit", opt=needs("audit.read"), summary="Read the audit log", responses=documented(422))
async def list_audit(
    tx: Tx,
    after: FromQuery[int | None] = None,
    limit: Annotated[int, up_to(1000)] = 100,
) -> Page[people.AuditEntry]:
    """List who changed what, the latest first; ``after`` a number come the entries before it."""
    checked_limit(limit, 1000)
    rows = await queries.newest_first(tx, after, limit + 1)
    return page_of([people.entry_of(row) for row in rows], [str(row["number"]) for row in rows], limit)


@get(
    "/verify",
    operation_id="verifyAudit",
    opt=needs("audit.read"),
    summary="Verify the audit log",
    responses=documented(),
)
async def verify_audit(tx: Tx) -> people.Verification:
    """Compute every hash of the log again and say whether each entry is there, unchanged and in its place."""
    end = await queries.end(tx)
    walk = await _walk(tx, end["audited"])
    broken = walk.end(end["audited"], end["audit_head"])
    return people.Verification(
        holds=broken is None,
        entries=walk.number,
        head=walk.head.hex(),
        broken_at=broken.number if broken else None,
        why=broken.why if broken else None,
    )


router = Router("/v1/audit", route_handlers=[list_audit, verify_audit], tags=["People"])


async def _walk(tx: Transaction, last: int) -> Walk:
    """Follow the log up to an entry; those that come while it is read are not looked at."""
    walk, read = Walk(), 0
    while rows := await queries.in_order(tx, read, last, BATCH):
        walk.follow(queries.sealed_of(row) for row in rows)
        read = rows[-1]["number"]
    return walk
