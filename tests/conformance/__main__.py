"""How much of OpenAI's wire is here: compares OpenAI's published description with ours, and asks a live gateway.

    python -m tests.conformance --description FILE

FILE is the part of OpenAI's OpenAPI description about files, uploads, fine-tuning and models, as JSON. It is not ours
to ship. What was found is written into docs/reference/conformance.md.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
import tempfile
from datetime import date
from pathlib import Path

os.environ.setdefault("WOODSHED_LOG_LEVEL", "error")

import nats

from deploy.provision import provision
from libs.bus.permissions import ADMIN
from libs.testing.platform import World, empty
from libs.testing.servers import PASSWORDS, Servers, servers
from services.gateway.openapi import document
from tests.conformance.compare import compare, score
from tests.conformance.live import Live, walk
from tests.conformance.page import page
from tests.conformance.shapes import Document
from tests.integration.gateway.conftest import listening

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "conformance.md"


def main() -> int:
    """Compare, ask, write the page; 1 if a live answer was not as described."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--description", type=Path, required=True, help="OpenAI's description, as JSON")
    raw = parser.parse_args().description.read_bytes()
    theirs = Document(json.loads(raw))
    found = compare(theirs, Document(document()))
    with servers() as started:
        answers = asyncio.run(_ask(started, theirs))
    version = theirs.content["info"]["version"]
    source = f"version {version}, sha256 `{hashlib.sha256(raw).hexdigest()[:12]}…`"
    PAGE.write_text(page(found, answers, source, date.today()))
    present, parts = score(found)
    print(f"{present} of {parts} parts are present; written to {PAGE.relative_to(Path.cwd())}", file=sys.stderr)
    return 0


async def _ask(started: Servers, theirs: Document) -> dict[str, Live]:
    await provision(started.admin_url, started.nats_url, PASSWORDS)
    await empty(started)
    client = await nats.connect(started.nats_url, user=ADMIN, password=PASSWORDS[ADMIN])
    world = World(started, client)
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with listening(world, Path(folder), wandb_api_key="none") as gateway:
                return await walk(gateway, theirs)
    finally:
        await world.close()
        await client.close()


if __name__ == "__main__":
    sys.exit(main())
