"""Which calendar month a moment falls into, by whose clock: for whoever counts what a month costs."""

from datetime import datetime
from zoneinfo import ZoneInfo


def month_of(at: datetime, zone: str) -> str:
    """Return the calendar month of a moment where a clock shows ``zone``: ``2026-11``."""
    return f"{at.astimezone(ZoneInfo(zone)):%Y-%m}"
