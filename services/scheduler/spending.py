"""Books what runs cost, and tells how an organisation's month stands.

A cost is told by the trainer where a device is let go; it is booked once, in the transaction that reacts to it.
"""

from contracts.budgets import BudgetMoved, BudgetThresholdReached
from contracts.runs import RunCancelled, RunFailed, RunFinished, RunPaused
from libs.db import Transaction
from libs.db.database import now
from services.scheduler import queries, queries_budgets
from services.scheduler.domain.budget import Purse
from services.scheduler.domain.estimate import Rate
from services.scheduler.domain.money import MILLION

Costly = RunFinished | RunFailed | RunCancelled | RunPaused


async def charge(tx: Transaction, run: Costly, rate: Rate) -> None:
    """Book what a run has cost since it last told; what was held for it is free when its job leaves the device."""
    if await queries.job(tx, run.tenant, run.job_id) is None:
        return
    cost = round(rate.bill(run.device_seconds - run.rented_seconds, run.rent) * MILLION)
    if new := await queries_budgets.charge_run(tx, run.tenant, run.job_id, run.run_id, cost):
        limit = await queries_budgets.limit(tx, run.tenant)
        await queries_budgets.book(tx, run.tenant, limit.month(run.at), new)
    await say(tx, run.tenant, rate)


async def say(tx: Transaction, tenant: str, rate: Rate) -> None:
    """Tell how the month of an organisation with a budget stands, and a threshold that is newly passed."""
    limit = await queries_budgets.limit(tx, tenant)
    if not limit.monthly:
        return
    for purse in await queries_budgets.purses(tx, [limit], now(), rate):
        await tx.tell(moved(purse))
        percent = purse.reached()
        if percent and await queries_budgets.is_news(tx, purse, percent):
            await tx.tell(
                BudgetThresholdReached(
                    tenant=tenant,
                    at=now(),
                    month=purse.month,
                    percent=percent,
                    limit=purse.monthly / MILLION,
                    spent=purse.spent / MILLION,
                )
            )


def moved(purse: Purse) -> BudgetMoved:
    """Return the fact of how a month stands."""
    return BudgetMoved(
        tenant=purse.tenant,
        at=now(),
        month=purse.month,
        limit=purse.monthly / MILLION,
        spent=purse.spent / MILLION,
        held=purse.held / MILLION,
        used_up=purse.is_used_up,
    )
