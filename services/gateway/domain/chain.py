"""The audit log as a hash chain: what an entry's hash covers, and where a chain that was tampered with breaks.

An entry's hash is SHA-256 over the hash before it and everything the entry says, so that no entry can be
changed, removed or put between without every later hash being wrong; the tenant's row knows how the log ends.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

START = b""
"""What stands before the first entry."""


class Entry(Struct, frozen=True, kw_only=True):
    """Who (``actor``: a member, ``via``: a key or a session) did what about which thing, when and from where.

    ``details`` is JSON as text, exactly as it was written.
    """

    tenant: str
    number: int
    at: datetime
    actor: str
    via: str
    action: str
    about: str
    details: str
    origin: str
    request_id: str


class Sealed(Struct, frozen=True):
    """An entry with the hash before it and its own."""

    entry: Entry
    previous: bytes
    hash: bytes


class Break(Struct, frozen=True):
    """Where a chain does not hold, and why."""

    number: int
    why: str


def seal(previous: bytes, entry: Entry) -> Sealed:
    """Close an entry behind the one before it."""
    return Sealed(entry, previous, _hash(previous, entry))


class Walk:
    """Follows a tenant's chain from its first entry on; feed it the log in order, then ask for the end."""

    def __init__(self) -> None:
        self.number = 0
        self.head = START
        self.broken: Break | None = None

    def follow(self, entries: Iterable[Sealed]) -> None:
        """Go on along these entries; stops at the first that does not fit."""
        for sealed in entries:
            if self.broken is None:
                self.broken = self._misfit(sealed)
                self.number, self.head = sealed.entry.number, sealed.hash

    def end(self, audited: int, head: bytes) -> Break | None:
        """Say where the chain breaks, given how the tenant's row says that it ends; ``None``: it holds."""
        if self.broken is None and (self.number, self.head) != (audited, head):
            return Break(self.number + 1, f"the log ends after {self.number} entries and should have {audited}")
        return self.broken

    def _misfit(self, sealed: Sealed) -> Break | None:
        number = sealed.entry.number
        if number != self.number + 1:
            return Break(self.number + 1, f"entry {self.number + 1} is missing")
        if sealed.previous != self.head:
            return Break(number, f"entry {number} does not follow the one before it")
        if sealed.hash != _hash(sealed.previous, sealed.entry):
            return Break(number, f"entry {number} was changed after it was written")
        return None


def _hash(previous: bytes, entry: Entry) -> bytes:
    at = entry.at.astimezone(UTC).isoformat(timespec="microseconds")
    said = [
        entry.tenant, entry.number, at, entry.actor, entry.via, entry.action, entry.about, entry.details,
        entry.origin, entry.request_id,
    ]  # fmt: skip
    return hashlib.sha256(previous + msgspec.json.encode(said)).digest()
