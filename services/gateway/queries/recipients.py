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
OPEN_ADDRESSES = """
    SELECT recipient_id, slack_address
      FROM gateway.recipient
     WHERE slack_address <> ''
       AND slack_address NOT LIKE 'sealed:%'
       FOR UPDATE
"""
SEAL = "UPDATE gateway.recipient SET slack_address = $2 WHERE recipient_id = $1"
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


async def open_addresses(tx: Transaction) -> list[Record]:
    """Find, and hold, whose Slack address is not sealed."""
    return await tx.fetch(OPEN_ADDRESSES)


async def seal(tx: Transaction, recipient_id: str, sealed: str) -> None:
    """Keep the same address sealed."""
    await tx.execute(SEAL, recipient_id, sealed)


async def remove(tx: Transaction, recipient_id: str) -> bool:
    """Forget somebody and their address. ``False``: there is nobody of this id."""
    return await tx.fetchval(REMOVE, recipient_id) is not None
