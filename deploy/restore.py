"""Makes an installation from a backup, in a folder of its own: ``python -m deploy.restore BACKUP --home NEW``.

Every byte is checked before anything is made. Facts are published again in their order, into streams that are new:
every reader hears all of them once more and finds in its inbox what it did; what it had forgotten as long past is
written there again. A device that was held stays held until its
runner says hello or is silent too long; then the run goes on from its checkpoint. The time in between is nobody's bill:
open leases begin again now.

Stop the old installation for good before the new one starts: both would serve the same people.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

import asyncpg
import msgspec
import nats

from contracts.catalogue import SERVICES
from deploy.backup import (
    DUMP,
    FORMAT,
    KEY,
    MANIFEST,
    OBJECTS,
    SECRETS,
    Manifest,
    Message,
    Source,
    private,
    run_tool,
    source_of,
)
from deploy.installation import Lock, ports
from deploy.provision import DATABASE, provision
from deploy.up import start_servers, until_told
from libs.bus.permissions import ADMIN, AUDITOR
from libs.bus.streams import DEADLETTERS, EVENTS
from libs.db.database import quoted
from libs.db.migrate import create_login
from libs.embedded.home import Home
from libs.embedded.supervisor import Supervisor
from libs.errors import Conflict, Rejected
from libs.storage import Storage, hash_file

AT_ONCE = 200
REMEMBER = "INSERT INTO {schema}.inbox (id) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
BEGIN_AGAIN = "UPDATE trainer.lease SET granted_at = granted_at + (now() - $1) WHERE ended_at IS NULL"


async def restore(folder: Path, home: Home) -> Manifest:
    """Make the installation; ``python -m deploy.up`` then starts it. ``Rejected`` when a byte is not what it was."""
    if any((home.folder / name).exists() for name in ("secrets.json", "postgres", "postgres.folder", "nats")):
        raise Conflict(f"{home.folder} holds an installation already. Give the restored one a folder of its own.")
    manifest = verified(folder)
    with Lock(home):
        private(home.folder / "secrets.json", (folder / SECRETS).read_text())
        if key := (folder / KEY).read_text():
            private(home.folder / "owner.key", key)
        given, supervisor = ports(home), Supervisor(home.folder / "logs")
        try:
            await start_servers(home, given, supervisor)
            await fill(folder, manifest, source_of(home, given))
        finally:
            await supervisor.stop()
    return manifest


def verified(folder: Path) -> Manifest:
    """Read a backup's manifest and check every byte of it; ``Rejected`` names the file that differs."""
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    if manifest.format != FORMAT:
        raise Rejected(f"{folder} is a backup of format {manifest.format}, this version reads {FORMAT}.")
    hashes = manifest.files | {f"{OBJECTS}/{key}": each.sha256 for key, each in manifest.objects.items()}
    for name, sha256 in hashes.items():
        path = folder / name
        if not path.exists() or hash_file(path).sha256 != sha256:
            raise Rejected(f"{path} is missing or not what was saved. Nothing was restored: take another backup.")
    return manifest


async def fill(folder: Path, manifest: Manifest, target: Source) -> None:
    """Put everything into servers and storage that are empty."""
    await _database(folder, manifest, target)
    await provision(target.database_url, target.nats_url, target.secrets)
    await _publish(folder, target)
    storage = Storage.open(target.storage_url)
    for key in manifest.objects:
        await storage.put_file(key, folder / OBJECTS / key)


async def _database(folder: Path, manifest: Manifest, target: Source) -> None:
    server = await asyncpg.connect(target.database_url)
    try:
        await server.execute(f"CREATE DATABASE {DATABASE}")
        for name in (*SERVICES, AUDITOR):
            await create_login(server, name, target.secrets[name])
    finally:
        await server.close()
    url = target.database_url.rsplit("/", 1)[0] + f"/{DATABASE}"
    await asyncio.to_thread(run_tool, "pg_restore", url, "--exit-on-error", str(folder / DUMP))
    admin = await asyncpg.connect(url)
    try:
        await admin.execute(BEGIN_AGAIN, manifest.taken_at)
        ids = [_message(line).headers["ce-id"] for line in (folder / f"{EVENTS}.jsonl").read_bytes().splitlines()]
        for service, done in manifest.taken_in.items():
            await admin.execute(REMEMBER.format(schema=quoted(service)), ids[:done])
    finally:
        await admin.close()


async def _publish(folder: Path, target: Source) -> None:
    """Publish every message again, in order: many are under way at once, on one connection."""
    client = await nats.connect(target.nats_url, user=ADMIN, password=target.secrets[ADMIN], name="restore")
    try:
        js = client.jetstream(timeout=30)
        for stream in (EVENTS, DEADLETTERS):
            kept = [_message(line) for line in (folder / f"{stream}.jsonl").read_bytes().splitlines()]
            for start in range(0, len(kept), AT_ONCE):
                await asyncio.gather(
                    *(
                        js.publish(each.subject, _body(each), headers=each.headers, stream=stream, timeout=30)
                        for each in kept[start : start + AT_ONCE]
                    )
                )
    finally:
        await client.close()


def _message(line: bytes) -> Message:
    return Message(**json.loads(line))


def _body(message: Message) -> bytes:
    return message.body.encode(errors="surrogateescape")


async def _run(folder: Path, home: Home) -> int:
    manifest = await restore(folder, home)
    print(f"{home.folder} stands as it was at {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC.")
    print(f"Start it:       {sys.executable} -m deploy.up --home {home.folder}")
    print(f"Then look:      {sys.executable} -m deploy.invariants --home {home.folder}")
    return 0


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Make an installation from a backup, in a folder of its own.")
    parser.add_argument("folder", type=Path, help="the backup")
    parser.add_argument("--home", type=Path, required=True, help="the new installation's folder")
    given = parser.parse_args()
    sys.exit(until_told(_run(given.folder.resolve(), Home(given.home.resolve()))))


if __name__ == "__main__":
    main()
