"""What a run has cost so far, as every fact that sets a device free tells it."""

from typing import TypedDict

from libs.db import Transaction
from libs.db.database import now
from services.trainer import queries_leases, queries_machines


class Bill(TypedDict):
    """Seconds that devices were held; how many of them were rented, and for what."""

    device_seconds: float
    rented_seconds: float
    rent: float


async def bill(tx: Transaction, run_id: str) -> Bill:
    """Add up the leases of a run."""
    at = now()
    rented_seconds, rent = await queries_machines.rented(tx, run_id, at)
    device_seconds = await queries_leases.device_seconds(tx, run_id, at)
    return Bill(device_seconds=device_seconds, rented_seconds=rented_seconds, rent=rent)
