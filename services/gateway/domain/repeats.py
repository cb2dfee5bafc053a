"""When a request is a repetition of one that was answered, judged by its headers.

Two kinds: an ``Idempotency-Key`` holds for 24 hours and one body; openai-python sends none
but marks its own retries, which are taken for the same request for ten minutes.
"""

import hashlib
from collections.abc import Mapping

from msgspec import Struct

from libs.errors import Rejected

DAY = 24 * 3600.0
TEN_MINUTES = 600.0


class Claim(Struct, frozen=True):
    """Under which key an answer is kept, for which request, and for how many seconds.

    ``anew``: whatever was kept is replaced, since the client says that this is its first try.
    """

    key: str
    fingerprint: str
    within: float
    anew: bool


def claim_of(headers: Mapping[str, str], holder: str, method: str, path: str, body: bytes) -> Claim | None:
    """Return what a request claims; ``None``: it is to be carried out, however often it comes."""
    fingerprint = hashlib.sha256(b"\n".join([method.encode(), path.encode(), body])).hexdigest()
    if key := headers.get("idempotency-key"):
        return Claim(f"key {_checked(key)}", fingerprint, DAY, anew=False)
    count = headers.get("x-stainless-retry-count", "")
    if count.isdigit():
        return Claim(f"retry {holder} {fingerprint}", fingerprint, TEN_MINUTES, anew=int(count) == 0)
    return None


def _checked(key: str) -> str:
    if len(key) > 255:
        raise Rejected("The Idempotency-Key is longer than 255 characters. Send a shorter one, such as a UUID.")
    return key
