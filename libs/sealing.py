"""Secrets that have to be read again, kept so that whoever has the database alone reads none.

What needs only to be compared is kept as a digest, and what can be computed is not kept at all (:mod:`libs.signing`);
this is for the rest. AES-256-GCM, a nonce drawn for each sealing, a key derived from a secret of the installation.
"""

import base64
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from libs.signing import derived

MARK = "sealed:"
"""What every sealed text begins with."""
NONCE_BYTES = 12


class Seal:
    """Seals and opens texts for one purpose; ``about`` says whose a text is, and opens no other's."""

    def __init__(self, key: str, purpose: str) -> None:
        self._cipher = AESGCM(derived(key, f"seal {purpose}"))

    def sealed(self, text: str, about: str) -> str:
        """Return what may be kept of a text."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        whole = nonce + self._cipher.encrypt(nonce, text.encode(), about.encode())
        return MARK + base64.b64encode(whole).decode()

    def opened(self, kept: str, about: str) -> str | None:
        """Return the text; ``None`` if it was sealed with another key or for somebody else, or was altered."""
        whole = base64.b64decode(kept.removeprefix(MARK))
        try:
            return self._cipher.decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], about.encode()).decode()
        except InvalidTag:
            return None
