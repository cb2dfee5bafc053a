"""Makes the organisation and its owner's key where services run in containers, and prints the key once:

docker compose run --rm provision python -m deploy.owner
"""

import asyncio
import json
import os
from pathlib import Path

from deploy.secrets import TENANT
from libs.db import Database
from services.gateway.bootstrap import bootstrap


async def owner_key(environ: dict[str, str]) -> str | None:
    """Return the new key, or ``None`` when the organisation has one already."""
    secrets = json.loads(Path(environ["WOODSHED_SECRETS"]).read_text())
    db = await Database.connect(environ["WOODSHED_GATEWAY_DATABASE_URL"], "gateway")
    try:
        return await bootstrap(db, TENANT, secrets["pepper"])
    finally:
        await db.close()


def main() -> None:
    """Print the key, or what to do about a lost one."""
    key = asyncio.run(owner_key(dict(os.environ)))
    print(key or f"The organisation {TENANT} has a key already; only its digest is kept, so it cannot be shown again.")


if __name__ == "__main__":
    main()
