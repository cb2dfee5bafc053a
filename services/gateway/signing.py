"""Signing in: a password is tried, slowly, outside of any transaction and of the event loop, and tries are counted.

A try is counted before the password is compared and forgiven when it was right, so that guesses made at once are
counted one by one. An address nobody has is answered like a wrong password, after as long.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
from asyncpg import Record
from msgspec import Struct

from contracts.base import new_id
from libs.db import Database, Transaction
from libs.errors import Conflict, TooMany, Unauthorized
from services.gateway.auth import Caller
from services.gateway.domain import passwords, sessions
from services.gateway.domain.people import Acceptance
from services.gateway.queries import members as member_queries
from services.gateway.queries import sessions as queries
from services.gateway.trail import hold, note

AT_ONCE = 2
NOBODYS = f"scrypt${passwords.N}${passwords.R}${passwords.P}${'A' * 22}==${'A' * 43}="
"""No password gives this; comparing with it takes as long as with another."""


class Visitor(Struct, frozen=True, kw_only=True):
    """Who knocks: an address in an organisation, from where and with which program."""

    tenant: str
    email: str
    origin: str
    request_id: str
    program: str

    def as_caller(self, member: Record, via: str) -> Caller:
        """Return the member that the visitor turned out to be."""
        return Caller(
            tenant=self.tenant,
            member=member["member_id"],
            role=member["role"],
            prefix=via,
            origin=self.origin,
            request_id=self.request_id,
        )


class Signing:
    """Tries and sets passwords, a few at once: each takes 32 MiB and a core for a moment."""

    def __init__(self, db: Database, pepper: str, lifetime: timedelta) -> None:
        self._db = db
        self._pepper = pepper
        self._lifetime = lifetime
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def sign_in(self, visitor: Visitor, password: str) -> tuple[str, Caller]:
        """Return a new session's secret and its caller; ``Unauthorized`` does not say what was wrong."""
        member = await self._begin(visitor, self._who(visitor))
        right = await self.matches(password, None if member is None else member["password"])
        if right and member is not None:
            return await self.enter(visitor, member)
        await self._note_failure(visitor, member)
        raise Unauthorized(
            "There is no such member with this password.", code="wrong_password",
            fix="Try again, or ask an owner for an invitation: with it you set a new password.",
        )  # fmt: skip

    async def accept(self, visitor: Visitor, wish: Acceptance) -> tuple[Visitor, Record]:
        """Set the password of the member whom an invitation is for; ``Unauthorized`` if it does not hold.

        Returns the visitor as that member's, and the member.
        """
        kept = await self.stored(wish.password)
        digest = sessions.digest(self._pepper, "invitation", wish.invitation)
        async with self._db.across_tenants() as tx:
            found = await queries.invited(tx, digest)
        if found is None:
            raise Unauthorized(
                "The invitation does not hold: it was used, replaced, or is older than a week.", code="bad_invitation",
                fix="Ask an owner for another one.",
            )  # fmt: skip
        known = msgspec.structs.replace(visitor, tenant=found["tenant"], email=found["email"] or "")
        async with self._db.transaction(known.tenant) as tx:
            return known, await self._use(tx, digest, kept, known, wish.name)

    async def enter(self, visitor: Visitor, member: Record) -> tuple[str, Caller]:
        """Open a session of a member who proved to be one; return its secret and its caller."""
        secret, session = sessions.new_secret(), new_id("session")
        until = datetime.now(UTC) + self._lifetime
        digest = sessions.digest(self._pepper, "session", secret)
        caller = msgspec.structs.replace(visitor.as_caller(member, session), until=until, session=secret)
        async with self._db.transaction(visitor.tenant) as tx:
            await queries.forgive(tx, self._who(visitor))
            await queries.add(tx, session, caller.member, digest, visitor.origin, visitor.program, until)
            await note(tx, caller, "session.opened", session)
        return secret, caller

    async def stored(self, password: str) -> str:
        """Return what is kept of a password; ``Rejected`` if it may not be one."""
        passwords.check(password)
        async with self._turns:
            return await asyncio.to_thread(passwords.stored, password)

    async def matches(self, password: str, kept: str | None) -> bool:
        """Compare a password with what was kept; with ``None`` it takes as long and is wrong."""
        async with self._turns:
            return await asyncio.to_thread(passwords.matches, password, kept or NOBODYS)

    async def _begin(self, visitor: Visitor, who: bytes) -> Record | None:
        """Count a try and return the member it is about; ``TooMany`` while they have to wait."""
        async with self._db.transaction(visitor.tenant) as tx:
            if not await queries.is_tenant(tx):
                return None
            now = datetime.now(UTC)
            tries = await queries.tried(tx, who, now)
            if wait := passwords.wait_before(tries["count"], tries["last_at"], now):
                raise TooMany("Too many wrong passwords for this address.", after=wait, code="too_many_tries")
            await queries.count(tx, who, tries["count"] + 1, now)
            return await queries.signing_in(tx, visitor.email)

    async def _use(self, tx: Transaction, digest: bytes, kept: str, visitor: Visitor, name: str | None) -> Record:
        """Use an invitation up, unless somebody else just did."""
        await hold(tx)
        found = await queries.invited(tx, digest)
        if found is None:
            raise Conflict("The invitation was used a moment ago.", code="bad_invitation")
        await queries.set_password(tx, found["member_id"], kept)
        await queries.end_of(tx, found["member_id"])
        member = await member_queries.change(
            tx, found["member_id"], name or found["name"], found["email"], found["role"]
        )
        changed = {"name": "changed"} if member["name"] != found["name"] else {}
        await note(tx, visitor.as_caller(member, "invitation"), "password.set", member["member_id"], **changed)
        return member

    def _who(self, visitor: Visitor) -> bytes:
        return sessions.digest(self._pepper, "tries", visitor.email)

    async def _note_failure(self, visitor: Visitor, member: Record | None) -> None:
        if member is not None:
            async with self._db.transaction(visitor.tenant) as tx:
                await note(tx, visitor.as_caller(member, "password"), "session.refused", member["member_id"])
