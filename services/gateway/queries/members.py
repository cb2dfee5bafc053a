"""Members of organisations."""

from datetime import datetime

from asyncpg import Record

from libs.db import Transaction

ADD = """
    INSERT INTO gateway.member (member_id, tenant, name, email, role)
    VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (tenant, email) WHERE removed_at IS NULL DO NOTHING
 RETURNING member_id, name, email, role, created_at, invite_until, invite_mail,
           password IS NOT NULL AS signs_in
"""
LISTED = """
    SELECT member_id, name, email, role, created_at, invite_until, invite_mail,
           password IS NOT NULL AS signs_in
      FROM gateway.member
     WHERE removed_at IS NULL
     ORDER BY created_at, member_id
"""
GET = """
    SELECT member_id, name, email, role, created_at, invite_until, invite_mail,
           password IS NOT NULL AS signs_in
      FROM gateway.member
     WHERE member_id = $1
       AND removed_at IS NULL
       FOR NO KEY UPDATE
"""
OWNERS = """
    SELECT member_id
      FROM gateway.member
     WHERE role = 'owner'
       AND removed_at IS NULL
     ORDER BY created_at, member_id
"""
CHANGE = """
    UPDATE gateway.member
       SET name = $2, email = $3, role = $4
     WHERE member_id = $1
 RETURNING member_id, name, email, role, created_at, invite_until, invite_mail,
           password IS NOT NULL AS signs_in
"""
REMOVE = """
    UPDATE gateway.member
       SET removed_at = now(), password = NULL, invite_digest = NULL, invite_until = NULL
     WHERE member_id = $1
"""
INVITE = """
    UPDATE gateway.member
       SET invite_digest = $2, invite_until = $3, invite_seed = $4, invite_number = $5,
           invite_mail = CASE WHEN $4::text IS NULL THEN NULL ELSE 'waiting' END
     WHERE member_id = $1
"""
INVITATION = """
    SELECT email, invite_seed, invite_until
      FROM gateway.member
     WHERE member_id = $1
       AND invite_number = $2
       AND invite_seed IS NOT NULL
       AND invite_digest IS NOT NULL
       AND invite_until > now()
"""
MAILED = "UPDATE gateway.member SET invite_mail = $3 WHERE member_id = $1 AND invite_number = $2"


async def add(tx: Transaction, member_id: str, name: str, email: str | None, role: str) -> Record | None:
    """Enter a member; ``None`` when one with this address is there."""
    return await tx.fetchrow(ADD, member_id, tx.tenant, name, email, role)


async def listed(tx: Transaction) -> list[Record]:
    """List members, the first first."""
    return await tx.fetch(LISTED)


async def get(tx: Transaction, member_id: str) -> Record | None:
    """Find and hold a member."""
    return await tx.fetchrow(GET, member_id)


async def owners(tx: Transaction) -> list[str]:
    """List the owners, the first first."""
    return [row["member_id"] for row in await tx.fetch(OWNERS)]


async def change(tx: Transaction, member_id: str, name: str, email: str | None, role: str) -> Record:
    """Write down what a member is called and may do."""
    row: Record | None = await tx.fetchrow(CHANGE, member_id, name, email, role)
    assert row is not None
    return row


async def remove(tx: Transaction, member_id: str) -> None:
    """Remove a member; what they did stays."""
    await tx.execute(REMOVE, member_id)


async def invite(
    tx: Transaction, member_id: str, digest: bytes, until: datetime, seed: str | None = None, number: int = 0
) -> None:
    """Let whoever has the invitation set the member's password; an earlier one is void. With a seed it is mailed."""
    await tx.execute(INVITE, member_id, digest, until, seed, number)


async def invitation(tx: Transaction, member_id: str, number: int) -> Record | None:
    """Find what a mailed invitation is computed from; ``None``: it was used, replaced, or is over."""
    return await tx.fetchrow(INVITATION, member_id, number)


async def mailed(tx: Transaction, member_id: str, number: int, what: str) -> None:
    """Note what became of the mail with an invitation; one that was replaced since changes nothing."""
    await tx.execute(MAILED, member_id, number, what)
