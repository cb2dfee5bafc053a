"""Refuses what would be more than the organisation may have: counted in the transaction that adds it, one at a time."""

from datetime import UTC, datetime

from libs.db import Transaction
from services.gateway.domain.budgets import NO_BUDGET, check_money
from services.gateway.domain.quotas import check_jobs, check_storage
from services.gateway.queries import budgets
from services.gateway.queries import quotas as queries
from services.gateway.settings import Settings
from services.gateway.trail import hold


async def room_for_job(tx: Transaction, settings: Settings) -> None:
    """Return if a job that this transaction added may stay; ``OverBudget`` or ``OverQuota`` takes it back."""
    check_money(await budgets.get(tx) or NO_BUDGET, datetime.now(UTC))
    await hold(tx)
    check_jobs(await queries.unfinished_jobs(tx), settings.jobs_at_once)


async def room_for_file(tx: Transaction, settings: Settings, coming: int = 0) -> None:
    """Return if a file that this transaction added, or one of ``coming`` bytes, may stay."""
    await hold(tx)
    check_storage(await queries.bytes_kept(tx) + coming, settings.storage_bytes)
