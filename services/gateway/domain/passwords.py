"""Passwords: which are taken, how they are stored (scrypt, RFC 7914), and how long whoever guesses has to wait."""

import base64
import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from libs.errors import Rejected

SHORTEST, LONGEST = 12, 200
N, R, P = 2**15, 8, 3
"""32 MiB and a few tenths of a second for each guess: the least memory of OWASP's equal choices for scrypt."""

FREE_TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 30.0, 900.0
FORGOTTEN_AFTER = timedelta(days=1)


def check(password: str) -> None:
    """Return if a password may be set; ``Rejected`` says why it may not."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Rejected(
            f"A password has {SHORTEST} to {LONGEST} characters; a sentence of a few words does well.",
            code="bad_password", field="password",
        )  # fmt: skip
    if len(set(password)) < 5:
        raise Rejected("That password repeats a few characters only.", code="bad_password", field="password")


def stored(password: str) -> str:
    """Return what is kept of a password. Takes tenths of a second: not for an event loop."""
    salt = secrets.token_bytes(16)
    return f"scrypt${N}${R}${P}${_text(salt)}${_text(_scrypt(password, salt, N, R, P))}"


def matches(password: str, kept: str) -> bool:
    """Compare a password with what was kept of one. Takes tenths of a second: not for an event loop."""
    _, n, r, p, salt, digest = kept.split("$")
    tried = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(tried, base64.b64decode(digest))


def wait_before(tries: int, last: datetime | None, now: datetime) -> float:
    """Return how many seconds somebody has to wait after so many wrong tries; each wait is twice the one before."""
    if last is None or tries < FREE_TRIES or now - last > FORGOTTEN_AFTER:
        return 0.0
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(tries - FREE_TRIES, 20))
    return max(0.0, wait - (now - last).total_seconds())


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
