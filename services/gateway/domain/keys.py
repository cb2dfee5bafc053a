"""What an API key looks like, and when a presented one is the stored one.

``wsk-<8 characters>-<32 characters>``: the first part finds the row, the whole is compared.
Stored is HMAC-SHA256 with the installation's pepper: 190 random bits need no slow hash.
"""

import hashlib
import hmac
import re
import secrets
from typing import NamedTuple

_SHAPE = re.compile(r"wsk-([0-9A-Za-z]{8})-([0-9A-Za-z]{32})")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Key(NamedTuple):
    """An API key in two parts; only its ``prefix`` may be shown or logged."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"wsk-{self.prefix}-{self.secret}"


def new_key() -> Key:
    """Draw a key; it is shown once and stored nowhere."""
    return Key(_random(8), _random(32))


def parse(text: str) -> Key | None:
    """Read a key; ``None`` when it does not look like one."""
    match = _SHAPE.fullmatch(text)
    return Key(match[1], match[2]) if match else None


def digest(pepper: str, key: Key) -> bytes:
    """Return the 32 bytes that are stored for a key."""
    return hmac.digest(pepper.encode(), str(key).encode(), hashlib.sha256)


def matches(pepper: str, key: Key, stored: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(digest(pepper, key), stored)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
