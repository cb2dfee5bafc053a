"""The key that lets outsiders in: what the gateway signs with it, the broker believes.

The broker knows only its public half (``auth_callout.issuer``). Both halves are computed from the installation's
signing key, so that there is no further secret to keep. Formats: nkeys (base32 of prefix byte, key and CRC-16) and NATS
JWTs (``alg`` ed25519-nkey) of https://github.com/nats-io/nkeys and https://github.com/nats-io/jwt, version 2.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.signing import derived

ACCOUNT = "$G"
"""The account everybody meets in; a server without others has this one."""
MOST_SUBSCRIPTIONS = 64
MOST_BYTES = 16_384
"""What an outsider may have open at once, and say at once."""

_ACCOUNT_PREFIX = bytes([0])
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


class Issuer:
    """Signs who an outsider is and what they may do."""

    def __init__(self, signing_key: str) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(derived(signing_key, "nats issuer"))
        self.public = _nkey(_ACCOUNT_PREFIX, self._key.public_key().public_bytes_raw())

    def answer(
        self, asked: "Asked", permissions: Mapping[str, Any] | None, until: datetime | None, at: datetime
    ) -> bytes:
        """Answer the broker: let this connection in with these permissions until then, or not at all."""
        said: dict[str, Any] = {"type": "authorization_response", "version": 2}
        if permissions is None:
            said["error"] = "these credentials do not hold"
        else:
            said["jwt"] = self._user(asked, permissions, until, at)
        return self._signed({"sub": asked.nats.user_nkey, "aud": asked.nats.server_id.id, "nats": said}, at).encode()

    def _user(self, asked: "Asked", permissions: Mapping[str, Any], until: datetime | None, at: datetime) -> str:
        limits = {"subs": MOST_SUBSCRIPTIONS, "data": -1, "payload": MOST_BYTES}
        claims = {
            "sub": asked.nats.user_nkey,
            "aud": ACCOUNT,
            "name": asked.nats.connect_opts.user,
            "nats": {"type": "user", "version": 2} | limits | dict(permissions),
        }
        return self._signed(claims | ({"exp": int(until.timestamp())} if until else {}), at)

    def _signed(self, claims: dict[str, Any], at: datetime) -> str:
        whole = {"jti": secrets.token_hex(16), "iat": int(at.timestamp()), "iss": self.public} | claims
        said = f"{_text(msgspec.json.encode(_HEADER))}.{_text(msgspec.json.encode(whole))}"
        return f"{said}.{_text(self._key.sign(said.encode()))}"


class Server(msgspec.Struct, frozen=True):
    """The server that asks."""

    id: str


class Presented(msgspec.Struct, frozen=True, rename={"password": "pass"}):
    """What the outsider sent to get in."""

    user: str = ""
    password: str = ""


class Asking(msgspec.Struct, frozen=True):
    """The broker's question: whether, and as whom, a connection may come in."""

    server_id: Server
    user_nkey: str
    connect_opts: Presented


class Asked(msgspec.Struct, frozen=True):
    """The claims of an authorization request."""

    nats: Asking


def read(token: bytes) -> Asked:
    """Read an authorization request; only the broker can publish where these come from, so it is not verified again."""
    body = token.split(b".")[1]
    return msgspec.json.decode(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)), type=Asked)


def _nkey(prefix: bytes, key: bytes) -> str:
    whole = prefix + key
    return base64.b32encode(whole + binascii.crc_hqx(whole, 0).to_bytes(2, "little")).decode().rstrip("=")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
