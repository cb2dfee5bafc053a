"""Sessions, passwords, invitations, and tries to sign in."""

from datetime import datetime

from asyncpg import Record

from libs.db import Database, Transaction

SESSION = "SELECT * FROM gateway.session_holder($1)"
ADD = """
    INSERT INTO gateway.session (session_id, tenant, member_id, digest, origin, program, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
OPEN = """
    SELECT session_id, origin, program, created_at, expires_at
      FROM gateway.session
     WHERE member_id = $1
       AND ended_at IS NULL
       AND expires_at > now()
     ORDER BY session_id
"""
END = """
    UPDATE gateway.session
       SET ended_at = now()
     WHERE session_id = $1
       AND member_id = $2
       AND ended_at IS NULL
 RETURNING session_id
"""
END_OF = """
    UPDATE gateway.session
       SET ended_at = now()
     WHERE member_id = $1
       AND session_id <> coalesce($2, '')
       AND ended_at IS NULL
 RETURNING session_id
"""
FORGET_OLD = "DELETE FROM gateway.session WHERE expires_at < now() - interval '30 days'"
SIGNING_IN = """
    SELECT member_id, role, password
      FROM gateway.member
     WHERE email = $1
       AND removed_at IS NULL
"""
PASSWORD = "SELECT password FROM gateway.member WHERE member_id = $1 AND removed_at IS NULL"
SET_PASSWORD = """
    UPDATE gateway.member
       SET password = $2, invite_digest = NULL, invite_until = NULL
     WHERE member_id = $1
"""
INVITED = """
    SELECT tenant, member_id, role, name, email
      FROM gateway.member
     WHERE invite_digest = $1
       AND invite_until > now()
       AND removed_at IS NULL
       FOR NO KEY UPDATE
"""
TENANT = "SELECT EXISTS (SELECT FROM gateway.tenant WHERE tenant = $1)"
TRIED = """
    INSERT INTO gateway.attempts (tenant, who, count, last_at)
    VALUES ($1, $2, 0, $3)
        ON CONFLICT (tenant, who) DO UPDATE SET who = excluded.who
 RETURNING count, last_at
"""
COUNT = "UPDATE gateway.attempts SET count = $2, last_at = $3 WHERE who = $1"
FORGIVE = "DELETE FROM gateway.attempts WHERE who = $1 OR last_at < now() - interval '1 day'"


async def session(db: Database, digest: bytes) -> Record | None:
    """Find an open session, with the role of its member."""
    return await db.ask(SESSION, digest)


async def add(
    tx: Transaction, session_id: str, member_id: str, digest: bytes, origin: str, program: str, until: datetime
) -> None:
    """Open a session; those that ended long ago are forgotten."""
    await tx.execute(FORGET_OLD)
    await tx.execute(ADD, session_id, tx.tenant, member_id, digest, origin, program, until)


async def open_of(tx: Transaction, member_id: str) -> list[Record]:
    """List a member's open sessions, the first first."""
    return await tx.fetch(OPEN, member_id)


async def end(tx: Transaction, session_id: str, member_id: str) -> bool:
    """End a session of a member. ``False``: they have no such open one."""
    return await tx.fetchval(END, session_id, member_id) is not None


async def end_of(tx: Transaction, member_id: str, but: str | None = None) -> list[str]:
    """End every session of a member, ``but`` one; return which."""
    return [row["session_id"] for row in await tx.fetch(END_OF, member_id, but)]


async def signing_in(tx: Transaction, email: str) -> Record | None:
    """Find a member by address."""
    return await tx.fetchrow(SIGNING_IN, email)


async def password(tx: Transaction, member_id: str) -> str | None:
    """Return what is kept of a member's password."""
    kept: str | None = await tx.fetchval(PASSWORD, member_id)
    return kept


async def set_password(tx: Transaction, member_id: str, kept: str) -> None:
    """Keep another password; an open invitation is used up."""
    await tx.execute(SET_PASSWORD, member_id, kept)


async def invited(tx: Transaction, digest: bytes) -> Record | None:
    """Find and hold the member whom an invitation is for, in whatever organisation."""
    return await tx.fetchrow(INVITED, digest)


async def is_tenant(tx: Transaction) -> bool:
    """Say whether the transaction's tenant is one."""
    return bool(await tx.fetchval(TENANT, tx.tenant))


async def tried(tx: Transaction, who: bytes, now: datetime) -> Record:
    """Return, and hold, how often somebody tried and when last."""
    row: Record | None = await tx.fetchrow(TRIED, tx.tenant, who, now)
    assert row is not None
    return row


async def count(tx: Transaction, who: bytes, count: int, now: datetime) -> None:
    """Count one more try."""
    await tx.execute(COUNT, who, count, now)


async def forgive(tx: Transaction, who: bytes) -> None:
    """Forget somebody's wrong tries, and everybody's of yesterday."""
    await tx.execute(FORGIVE, who)
