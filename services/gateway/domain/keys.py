"""What an API key looks like, when a presented one holds, and how far a key that it makes may reach.

``wsk-<8 characters>-<38 characters>``: the first part finds the row, the whole is compared, and the last six
characters are a checksum of the rest, so that a mistyped key is refused before anything is looked up. Keys made
before there were checksums end after 32 characters and go on to hold. Stored is HMAC-SHA256 with the
installation's pepper: 190 random bits need no slow hash.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from libs.errors import Forbidden, Unauthorized
from services.gateway.domain.permissions import Permission

_SHAPE = re.compile(r"wsk-([0-9A-Za-z]{8})-([0-9A-Za-z]{32}(?:[0-9A-Za-z]{6})?)")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET = 32
_CHECKSUM = 6


class Key(NamedTuple):
    """An API key in two parts; only its ``prefix`` may be shown or logged."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"wsk-{self.prefix}-{self.secret}"


class Reach(Struct, frozen=True):
    """What a key may do, and until when; ``None`` is for ever."""

    permissions: frozenset[Permission]
    until: datetime | None = None


def new_key() -> Key:
    """Draw a key; it is shown once and stored nowhere."""
    prefix, secret = _random(8), _random(_SECRET)
    return Key(prefix, secret + _checksum(prefix, secret))


def parse(text: str) -> Key:
    """Read a key; ``Unauthorized`` when it does not look like one, or its checksum says that it was mistyped."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise Unauthorized(
            "That is not an API key: one looks like wsk-XXXXXXXX-… and is printed once when it is made.",
            fix="Send it as `Authorization: Bearer wsk-…`.",
        )
    prefix, secret = match[1], match[2]
    if len(secret) > _SECRET and secret[_SECRET:] != _checksum(prefix, secret[:_SECRET]):
        raise Unauthorized(
            f"The API key wsk-{prefix}-… is mistyped or cut off: its last characters do not fit the rest.",
            fix="Copy it again, whole.",
        )
    return Key(prefix, secret)


def digest(pepper: str, key: Key) -> bytes:
    """Return the 32 bytes that are stored for a key."""
    return hmac.digest(pepper.encode(), str(key).encode(), hashlib.sha256)


def matches(pepper: str, key: Key, stored: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(digest(pepper, key), stored)


def check_holds(prefix: str, expires_at: datetime | None, revoked_at: datetime | None, now: datetime) -> None:
    """Return if a key that was found and matches still holds; ``Unauthorized`` says since when it does not."""
    if revoked_at is not None:
        raise Unauthorized(
            f"The API key wsk-{prefix}-… was revoked on {_day(revoked_at)}.", code="revoked_api_key",
            fix="Use another key, or make one: woodshed keys make NAME.",
        )  # fmt: skip
    if expires_at is not None and expires_at <= now:
        raise Unauthorized(
            f"The API key wsk-{prefix}-… expired on {_day(expires_at)}.", code="expired_api_key",
            fix="Use the key it was rotated to, or make one: woodshed keys make NAME.",
        )  # fmt: skip


def check_narrower(maker: Reach, made: Reach) -> None:
    """Return if a key may be made by another: it can do no more and lasts no longer; else ``Forbidden`` says what."""
    if more := made.permissions - maker.permissions:
        raise Forbidden(
            f"A key can only make keys that can do less: this one lacks {', '.join(sorted(more))}.",
            code="key_too_wide", field="scopes", fix="Leave these scopes out, or make it with a key that has them.",
        )  # fmt: skip
    if maker.until is not None and (made.until is None or made.until > maker.until):
        raise Forbidden(
            f"A key can only make keys that end no later than itself, on {_day(maker.until)}.",
            code="key_too_long", field="expires_in", fix="Ask for less time, or make it with a key that lasts longer.",
        )  # fmt: skip


def renewed_until(
    made_at: datetime, expires_at: datetime | None, now: datetime, maker_until: datetime | None
) -> datetime | None:
    """Return when a rotated key ends: after as long as the old one had, and no later than the key that asks."""
    if expires_at is None:
        return maker_until
    until = now + (expires_at - made_at)
    return until if maker_until is None else min(until, maker_until)


def overlapping_until(expires_at: datetime | None, now: datetime, overlap: float) -> datetime:
    """Return when a key that was rotated ends: after ``overlap`` seconds, or when it would have anyway."""
    until = now + timedelta(seconds=overlap)
    return until if expires_at is None else min(until, expires_at)


def _checksum(prefix: str, secret: str) -> str:
    value, letters = zlib.crc32(f"wsk-{prefix}-{secret}".encode()), ""
    for _ in range(_CHECKSUM):
        value, letter = divmod(value, len(_ALPHABET))
        letters += _ALPHABET[letter]
    return letters


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _day(moment: datetime) -> str:
    return f"{moment:%d %B %Y at %H:%M UTC}"
