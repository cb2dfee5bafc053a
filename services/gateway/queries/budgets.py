"""What the organisation may spend in a month, and what of it is spent."""

from asyncpg import Record

from contracts.budgets import BudgetMoved
from libs.db import Transaction

GET = "SELECT * FROM gateway.budget"
SET = """
    INSERT INTO gateway.budget (tenant, monthly, zone)
    VALUES ($1, $2, $3)
        ON CONFLICT (tenant) DO UPDATE SET monthly = $2, zone = $3
 RETURNING *
"""
MOVED = """
    INSERT INTO gateway.budget AS known (tenant, month, version, counted_by, spent, held, used_up)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (tenant) DO UPDATE
       SET month = $2, version = $3, counted_by = $4, spent = $5, held = $6, used_up = $7
     WHERE (known.month, known.version) < ($2, $3)
"""


async def get(tx: Transaction) -> Record | None:
    """Return the organisation's budget; ``None``: there never was one."""
    return await tx.fetchrow(GET)


async def set_limit(tx: Transaction, monthly: float, zone: str) -> Record:
    """Say what a month may cost; 0: as much as it likes."""
    row: Record | None = await tx.fetchrow(SET, tx.tenant, monthly, zone)
    assert row is not None
    return row


async def moved(tx: Transaction, fact: BudgetMoved) -> None:
    """Note how a month stands; an older fact that comes late changes nothing."""
    amounts = (fact.limit, fact.spent, fact.held, fact.used_up)
    await tx.execute(MOVED, fact.tenant, fact.month, fact.version, *amounts)
