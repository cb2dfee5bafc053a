"""What NATS servers and clients say, as far as the outer door reads it: the first words, and where a line ends.

The protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol (INFO, CONNECT).
"""

from typing import Any

import msgspec

from services.gateway.domain.credentials import PREFIX

INFO, CONNECT = b"INFO ", b"CONNECT "
REFUSAL = b"-ERR 'Authorization Violation'\r\n"
OF_THE_INSIDE = ("host", "port", "connect_urls", "ws_connect_urls", "client_ip")
"""What a server says of where it listens itself: it would lead clients past the door."""
PASSED_ON = (
    "user",
    "pass",
    "name",
    "lang",
    "version",
    "protocol",
    "verbose",
    "pedantic",
    "echo",
    "headers",
    "no_responders",
)
"""What a client may say of itself; other ways to say who one is (tokens, JWTs) are none here."""


def demanding_tls(info: bytes) -> bytes:
    """Return a server's greeting so that clients go on in TLS or not at all; ``ValueError`` if it is none."""
    if not info.startswith(INFO):
        raise ValueError("The broker did not begin with INFO.")
    said: dict[str, Any] = msgspec.json.decode(info.removeprefix(INFO), type=dict[str, Any])
    kept = {name: value for name, value in said.items() if name not in OF_THE_INSIDE}
    return INFO + msgspec.json.encode(kept | {"tls_required": True}) + b"\r\n"


def of_an_outsider(hello: bytes) -> bytes | None:
    """Return a client's first words as the broker is to hear them; ``None`` unless they present event credentials.

    They are written anew of what was understood here, so that the broker understands nothing else.
    """
    if not hello.startswith(CONNECT):
        return None
    try:
        said: dict[str, Any] = msgspec.json.decode(hello.removeprefix(CONNECT), type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
    if not str(said.get("user")).startswith(f"{PREFIX}-"):
        return None
    return CONNECT + msgspec.json.encode({name: said[name] for name in PASSED_ON if name in said}) + b"\r\n"


def payload_after(line: bytes) -> int | None:
    """Return how many bytes of a message follow a client's line; ``None``: another line does.

    ``ValueError``: the client presents itself a second time, or the broker could read it otherwise than we do.
    """
    if not line.endswith(b"\r\n") or b"\r" in line[:-2] or line[:1] in (b"C", b"c"):
        raise ValueError("That is nothing an outsider says after its first words.")
    if not line.upper().startswith((b"PUB", b"HPUB")):
        return None
    size = line.split()[-1]
    if not size.isdigit():
        raise ValueError("That message has no size.")
    return int(size)
