"""Secrets of an organisation's own: Slack addresses and a key for Weights & Biases, kept sealed.

Addresses from before that was so are sealed when the gateway starts.
"""

from libs.db import Database
from libs.sealing import Seal
from services.gateway.queries import recipients as queries
from services.gateway.settings import Settings


def slack_seal(settings: Settings) -> Seal:
    """Return what seals Slack addresses: with a key of the pepper, which the database does not have."""
    return Seal(settings.key_pepper, "slack address")


def wandb_seal(settings: Settings) -> Seal:
    """Return what seals keys for Weights & Biases, likewise."""
    return Seal(settings.key_pepper, "wandb key")


async def seal_what_lies_open(db: Database, seal: Seal) -> int:
    """Seal every address that is still as somebody wrote it; return how many."""
    async with db.across_tenants() as tx:
        lying = await queries.open_addresses(tx)
        for row in lying:
            await queries.seal(tx, row["recipient_id"], seal.sealed(row["slack_address"], row["recipient_id"]))
    return len(lying)
