"""Secrets that are computed, not kept: from one key of the installation, for webhooks and for links.

Services that hold the key compute the same secret, so none travels in a fact or lies in a database.
Changing the key changes every one of them at once.
"""

import base64
import hashlib
import hmac

SIGNING_KEY = (
    "Secret that webhooks and download links are signed with, the same for gateway and notifier, 32 random characters "
    "or more; empty: both are off. Changing it changes every webhook's secret and voids every link."
)
PRIVATE_NETWORKS = (
    "Whether webhooks may lead to private networks and this machine, also without TLS: for installations that belong "
    "to one organisation. Give gateway and notifier the same."
)
"""What these settings mean, said once for the two services that have them."""


def derived(key: str, purpose: str) -> bytes:
    """Return 32 bytes for one purpose; those for another purpose say nothing about them (HMAC-SHA256)."""
    return hmac.digest(key.encode(), f"woodshed {purpose}".encode(), hashlib.sha256)


def webhook_secret(key: str, webhook_id: str, number: int) -> str:
    """Return the ``number``-th signing secret of an endpoint, as Standard Webhooks writes one: ``whsec_`` + base64."""
    return "whsec_" + base64.b64encode(derived(key, f"webhook {webhook_id} {number}")).decode()
