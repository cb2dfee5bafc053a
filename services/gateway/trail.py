"""Writes the audit log: one entry for each change, in the transaction of the change."""

from datetime import UTC, datetime

import msgspec

from libs.db import Transaction
from services.gateway.auth import Caller
from services.gateway.domain import chain
from services.gateway.queries import audit as queries


async def hold(tx: Transaction) -> None:
    """Let nobody else of the organisation change what is counted, or whom it lets in, until this is over.

    It is the lock that every note takes: who needs it before takes it before any other row's.
    """
    await queries.hold_head(tx)


async def note(tx: Transaction, who: Caller, action: str, about: str, **details: object) -> None:
    """Add an entry; it stands if and when the change does.

    Whoever notes holds the end of the tenant's log until the transaction is over: note last.
    """
    head = await queries.hold_head(tx)
    entry = chain.Entry(
        tenant=tx.tenant,
        number=head["audited"] + 1,
        at=datetime.now(UTC),
        actor=who.member,
        via=who.prefix,
        action=action,
        about=about,
        details=msgspec.json.encode(details, order="deterministic").decode(),
        origin=who.origin,
        request_id=who.request_id,
    )
    await queries.add(tx, chain.seal(head["audit_head"], entry))
