"""The SQL of what organisations may spend, and of what their jobs cost: one function, one statement."""

from collections.abc import Sequence
from datetime import datetime

from contracts.budgets import BudgetSet
from libs.db import Transaction
from services.scheduler.domain.budget import Limit, Purse, least
from services.scheduler.domain.estimate import Rate
from services.scheduler.domain.money import MILLION

SET = """
    INSERT INTO scheduler.budget AS known (tenant, version, monthly, zone)
    VALUES ($1, $2, $3, $4)
        ON CONFLICT (tenant) DO UPDATE SET version = $2, monthly = $3, zone = $4
     WHERE known.version < $2
"""


async def set_limit(tx: Transaction, wish: BudgetSet) -> None:
    """Write down what an organisation may spend; an older wish that comes late changes nothing."""
    await tx.execute(SET, wish.tenant, wish.version, round(wish.limit * MILLION), wish.zone)


LIMITS = "SELECT tenant, monthly, zone FROM scheduler.budget WHERE monthly > 0 ORDER BY tenant"


async def limits(tx: Transaction) -> list[Limit]:
    """Return the budgets that this transaction sees."""
    return [Limit(*row) for row in await tx.fetch(LIMITS)]


LIMIT = "SELECT tenant, monthly, zone FROM scheduler.budget WHERE tenant = $1"


async def limit(tx: Transaction, tenant: str) -> Limit:
    """Return an organisation's budget; of one that has none, a budget of 0 by UTC."""
    row = await tx.fetchrow(LIMIT, tenant)
    return Limit(*row) if row else Limit(tenant, 0, "UTC")


PURSES = """
    SELECT asked.tenant, asked.month, coalesce(spending.amount, 0) AS spent,
           coalesce((SELECT sum(job.held)
                       FROM scheduler.job
                      WHERE job.tenant = asked.tenant
                        AND job.state IN ('dispatched', 'running', 'pausing', 'yielding')), 0)::bigint AS held
      FROM unnest($1::text[], $2::text[]) AS asked (tenant, month)
      LEFT JOIN scheduler.spending ON spending.tenant = asked.tenant AND spending.month = asked.month
"""


async def purses(tx: Transaction, limits: Sequence[Limit], at: datetime, rate: Rate) -> list[Purse]:
    """Return what these months have cost and hold: one snapshot, so a job that ends now is held for or spent."""
    by_tenant = {each.tenant: each for each in limits}
    rows = await tx.fetch(PURSES, list(by_tenant), [each.month(at) for each in by_tenant.values()])
    return [
        Purse(
            **dict(row), monthly=by_tenant[row["tenant"]].monthly, least=least(by_tenant[row["tenant"]].monthly, rate)
        )
        for row in rows
    ]


CHARGE = """
    UPDATE scheduler.job
       SET charged = greatest(job.charged, $4)
      FROM scheduler.job AS before
     WHERE job.tenant = $1 AND job.job_id = $2 AND job.run_id = $3
       AND before.tenant = job.tenant AND before.job_id = job.job_id
 RETURNING job.charged - before.charged
"""


async def charge_run(tx: Transaction, tenant: str, job_id: str, run_id: str, cost: int) -> int:
    """Note what a locked job's run has cost in all, and return how much of it is new."""
    return int(await tx.fetchval(CHARGE, tenant, job_id, run_id, cost) or 0)


BOOK = """
    INSERT INTO scheduler.spending AS known (tenant, month, amount)
    VALUES ($1, $2, $3)
        ON CONFLICT (tenant, month) DO UPDATE SET amount = known.amount + $3
"""


async def book(tx: Transaction, tenant: str, month: str, amount: int) -> None:
    """Add a cost to a month."""
    await tx.execute(BOOK, tenant, month, amount)


TELL = """
    INSERT INTO scheduler.spending AS known (tenant, month, amount, told)
    VALUES ($1, $2, 0, $3)
        ON CONFLICT (tenant, month) DO UPDATE SET told = $3
     WHERE known.told < $3
 RETURNING told
"""


async def is_news(tx: Transaction, purse: Purse, percent: int) -> bool:
    """Note that a threshold is told. ``False``: it was, or a higher one."""
    return await tx.fetchval(TELL, purse.tenant, purse.month, percent) is not None


SOMEBODY_WAITS = """
    SELECT EXISTS (
        SELECT FROM scheduler.job JOIN scheduler.budget USING (tenant)
         WHERE job.state = 'queued' AND budget.monthly > 0
    )
"""


async def somebody_waits(tx: Transaction) -> bool:
    """Whether a job is queued that may be waiting for money."""
    return bool(await tx.fetchval(SOMEBODY_WAITS))
