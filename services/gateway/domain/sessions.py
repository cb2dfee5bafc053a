"""Sessions of people who signed in, and invitations: secrets that are given out once and kept as digests.

A session's id travels in a cookie that no script reads. What changes something must also carry the session's CSRF
token in a header: another site can make a browser send the cookie, and cannot read the token.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

from libs.errors import Forbidden

COOKIE = "woodshed_session"
CSRF_HEADER = "x-csrf-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def new_secret() -> str:
    """Draw a session's or an invitation's secret: 256 random bits."""
    return secrets.token_urlsafe(32)


def invitation(pepper: str, member: str, seed: str) -> str:
    """Return a member's invitation, the same for the same ``seed``: whoever mails it later computes it again."""
    return base64.urlsafe_b64encode(digest(pepper, f"invitation of {member}", seed)).decode().rstrip("=")


def digest(pepper: str, what: str, secret: str) -> bytes:
    """Return the 32 bytes that are kept of a secret; ``what`` it is for keeps one from serving as another."""
    return hmac.digest(pepper.encode(), f"{what} {secret}".encode(), hashlib.sha256)


def csrf_token(pepper: str, secret: str) -> str:
    """Return the token that goes with a session: it follows from the session's secret, and not the other way."""
    return digest(pepper, "csrf", secret).hex()


def check_intended(method: str, headers: Mapping[str, str], pepper: str, secret: str) -> None:
    """Return if a request with a session's cookie was meant by the person; ``Forbidden`` if another site may be."""
    if method in SAFE:
        return
    check_same_site(headers)
    if not hmac.compare_digest(headers.get(CSRF_HEADER, "").encode(), csrf_token(pepper, secret).encode()):
        raise Forbidden(
            "A signed-in browser must send the session's CSRF token with every change.",
            code="csrf_token", field="X-CSRF-Token", fix="GET /v1/me has it as csrf_token.",
        )  # fmt: skip


def check_same_site(headers: Mapping[str, str]) -> None:
    """Return unless the browser says that another site made the request."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise _cross_site()


def check_own_form(headers: Mapping[str, str]) -> None:
    """Return unless a form came from another site's page, told by ``Origin`` where the browser tells no more."""
    check_same_site(headers)
    origin = headers.get("origin")
    if "sec-fetch-site" not in headers and origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise _cross_site()


def cookie(secret: str, host: str, seconds: int) -> str:
    """Return the Set-Cookie header of a session; 0 seconds end it.

    It is sent over HTTPS only, but where the browser itself runs on the gateway's machine.
    """
    name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdecimal() else host
    secure = "" if name in LOOPBACK else "; Secure"
    return f"{COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"


def _cross_site() -> Forbidden:
    return Forbidden("Another web site made this request.", code="cross_site", fix="Make it from Woodshed itself.")
