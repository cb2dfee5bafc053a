"""In containers, too, an organisation and its owner's key are made once."""

import json
from pathlib import Path

from deploy.owner import owner_key
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS


async def test_the_owners_key_is_made_once_and_not_shown_again(world: World, tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps(PASSWORDS | {"pepper": "p" * 32}))
    environ = {
        "WOODSHED_SECRETS": str(tmp_path / "secrets.json"),
        "WOODSHED_GATEWAY_DATABASE_URL": world.servers.database_url("gateway"),
    }
    key = await owner_key(environ)
    assert key
    assert len(key) > 30
    assert await owner_key(environ) is None
