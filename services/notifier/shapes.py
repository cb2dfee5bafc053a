"""Rows as the answers to questions show them."""

from collections.abc import Sequence

from asyncpg import Record

from contracts.webhooks import Attempt, Deliveries, Delivery

SHOWN_ATTEMPTS = 20


def deliveries_of(rows: Sequence[Record], calls: Sequence[Record], limit: int) -> Deliveries:
    """Make a page of what was found with one more than ``limit`` asked for."""
    shown = tuple(
        _delivery_of(row, [call for call in calls if call["delivery_id"] == row["delivery_id"]]) for row in rows[:limit]
    )
    return Deliveries(deliveries=shown, has_more=len(rows) > limit)


def _delivery_of(row: Record, calls: Sequence[Record]) -> Delivery:
    return Delivery(
        delivery_id=row["delivery_id"],
        event_id=row["event_id"],
        event_type=row["event_type"],
        job_id=row["job_id"],
        state=row["state"],
        tries=row["tries"],
        created_at=row["created_at"],
        due_at=row["due_at"] if row["state"] == "waiting" else None,
        attempts=tuple(_attempt_of(call) for call in calls[-SHOWN_ATTEMPTS:]),
    )


def _attempt_of(call: Record) -> Attempt:
    return Attempt(at=call["at"], status_code=call["status_code"], milliseconds=call["milliseconds"], said=call["said"])
