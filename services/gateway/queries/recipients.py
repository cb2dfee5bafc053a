"""Who is told what happens."""

from asyncpg import Record

from libs.db import Transaction

ADD = """
    INSERT INTO gateway.recipient (recipient_id, tenant, email, wishes, slack_address)
    VALUES ($1, $2, $3, $4, $5)
 RETURNING *
"""
COUNT = "SELECT count(*) FROM gateway.recipient"
GET = "SELECT * FROM gateway.recipient WHERE recipient_id = $1"
NEWEST_FIRST = """
    SELECT *
      FROM gateway.recipient
     WHERE $1::text IS NULL OR recipient_id < $1
  ORDER BY recipient_id DESC
     LIMIT $2
"""
CHANGE = """
    UPDATE gateway.recipient
       SET email = $2, wishes = $3, slack_address = $4, updated_at = now()
     WHERE recipient_id = $1
 RETURNING *
"""
REMOVE = "DELETE FROM gateway.recipient WHERE recipient_id = $1 RETURNING recipient_id"


async def add(tx: Transaction, recipient_id: str, email: str, wishes: str, slack_address: str) -> Record:
    """Enter somebody."""
    row: Record | None = await tx.fetchrow(ADD, recipient_id, tx.tenant, email, wishes, slack_address)
    assert row is not None
    return row


async def count(tx: Transaction) -> int:
    """Count the tenant's recipients."""
    return int(await tx.fetchval(COUNT))


async def get(tx: Transaction, recipient_id: str) -> Record | None:
    """Find somebody."""
    return await tx.fetchrow(GET, recipient_id)


async def newest_first(tx: Transaction, after: str | None, limit: int) -> list[Record]:
    """List everybody, the latest first."""
    return await tx.fetch(NEWEST_FIRST, after, limit)


async def change(tx: Transaction, recipient_id: str, email: str, wishes: str, slack_address: str) -> Record | None:
    """Change somebody's wishes; ``None``: there is nobody of this id."""
    return await tx.fetchrow(CHANGE, recipient_id, email, wishes, slack_address)


async def remove(tx: Transaction, recipient_id: str) -> bool:
    """Forget somebody and their address. ``False``: there is nobody of this id."""
    return await tx.fetchval(REMOVE, recipient_id) is not None
