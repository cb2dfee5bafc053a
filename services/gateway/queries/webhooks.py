"""Webhook endpoints as people wish them. One that was removed is seen by nobody."""

from datetime import datetime

from asyncpg import Record

from libs.db import Transaction

ADD = """
    INSERT INTO gateway.webhook (webhook_id, tenant, name, url, events, hex_signature)
    VALUES ($1, $2, $3, $4, $5, $6)
 RETURNING *
"""
COUNT = "SELECT count(*) FROM gateway.webhook WHERE removed_at IS NULL"
GET = "SELECT * FROM gateway.webhook WHERE webhook_id = $1 AND removed_at IS NULL FOR UPDATE"
NEWEST_FIRST = """
    SELECT *
      FROM gateway.webhook
     WHERE removed_at IS NULL
       AND ($1::text IS NULL OR webhook_id < $1)
  ORDER BY webhook_id DESC
     LIMIT $2
"""
CHANGE = """
    UPDATE gateway.webhook
       SET name = $2, url = $3, events = $4, hex_signature = $5, enabled = $6,
           disabled_reason = CASE WHEN $6 THEN '' ELSE disabled_reason END, updated_at = now()
     WHERE webhook_id = $1
 RETURNING *
"""
ROTATE = """
    UPDATE gateway.webhook
       SET secret_number = secret_number + 1, previous_until = $2, updated_at = now()
     WHERE webhook_id = $1
 RETURNING *
"""
TOLD = "UPDATE gateway.webhook SET told_version = $2 WHERE webhook_id = $1"
DISABLED = """
    UPDATE gateway.webhook
       SET enabled = false, disabled_reason = $3, updated_at = now()
     WHERE webhook_id = $1 AND told_version = $2
"""
REMOVE = "UPDATE gateway.webhook SET removed_at = now() WHERE webhook_id = $1"


async def add(tx: Transaction, webhook_id: str, name: str, url: str, events: list[str], hex_signature: bool) -> Record:
    """Enter an endpoint."""
    row: Record | None = await tx.fetchrow(ADD, webhook_id, tx.tenant, name, url, events, hex_signature)
    assert row is not None
    return row


async def count(tx: Transaction) -> int:
    """Count the tenant's endpoints."""
    return int(await tx.fetchval(COUNT))


async def get(tx: Transaction, webhook_id: str) -> Record | None:
    """Find an endpoint, and let nobody else change it meanwhile."""
    return await tx.fetchrow(GET, webhook_id)


async def newest_first(tx: Transaction, after: str | None, limit: int) -> list[Record]:
    """List endpoints, the latest first."""
    return await tx.fetch(NEWEST_FIRST, after, limit)


async def change(
    tx: Transaction, webhook_id: str, name: str, url: str, events: list[str], hex_signature: bool, enabled: bool
) -> Record:
    """Change an endpoint; enabling it forgets why it was disabled."""
    row: Record | None = await tx.fetchrow(CHANGE, webhook_id, name, url, events, hex_signature, enabled)
    assert row is not None
    return row


async def rotate(tx: Transaction, webhook_id: str, previous_until: datetime | None) -> Record:
    """Give an endpoint its next secret; the one before holds until then."""
    row: Record | None = await tx.fetchrow(ROTATE, webhook_id, previous_until)
    assert row is not None
    return row


async def told(tx: Transaction, webhook_id: str, version: int) -> None:
    """Note which fact describes the endpoint as it is now."""
    await tx.execute(TOLD, webhook_id, version)


async def disabled(tx: Transaction, webhook_id: str, version: int, reason: str) -> None:
    """Show that an endpoint is not called any more, unless somebody changed it since."""
    await tx.execute(DISABLED, webhook_id, version, reason)


async def remove(tx: Transaction, webhook_id: str) -> None:
    """Hide an endpoint."""
    await tx.execute(REMOVE, webhook_id)
