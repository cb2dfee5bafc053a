"""Copies a whole installation while it works: ``python -m deploy.backup FOLDER [--home DIR]``.

Everything is cut at one moment, the database's snapshot:

- the database, dumped from that snapshot
- the facts of the stream that the snapshot knows: a fact's number is not above its row's, and it does not wait in an
  outbox (from there it is told again). What was told later is left out; the restored installation tells it anew
- the objects that rows and facts of the snapshot name, each checked against its sha256; a checkpoint that was pruned
  meanwhile makes the whole begin again at a newer moment
- secrets and the owner's key, so the folder is as secret as they are

Telemetry is not copied, nor what a lost work folder costs: an attempt that was under way resumes from its checkpoint.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import msgspec
import nats
from msgspec import Struct
from nats.js import JetStreamContext

from contracts.catalogue import SERVICES
from deploy.installation import Lock, clean_up, holder, ports
from deploy.invariants.looking import Look, Told, messages, read_rows, told, waiting
from deploy.invariants.stored import vouched
from deploy.provision import DATABASE
from deploy.up import start_servers, until_told
from libs.bus.permissions import ADMIN
from libs.bus.streams import DEADLETTERS, EVENTS, durables
from libs.embedded.home import Home
from libs.embedded.postgres import SUPERUSER, Cluster, binaries
from libs.embedded.supervisor import Supervisor
from libs.errors import Conflict, NotFound, WoodshedError
from libs.storage import Corrupted, Storage, hash_file

FORMAT = 1
MANIFEST, DUMP, SECRETS, KEY, OBJECTS = "manifest.json", "database.dump", "secrets.json", "owner.key", "objects"
TRIES = 4


class Source(Struct, frozen=True, kw_only=True):
    """Where the servers and the objects of a running installation are reached, as administrator."""

    database_url: str
    nats_url: str
    secrets: dict[str, str]
    storage_url: str
    owner_key: str = ""


class Object(Struct, frozen=True):
    """An object as it was copied."""

    size: int
    sha256: str


class Message(Struct, frozen=True):
    """A message of a stream; bodies are JSON, so they are kept as text."""

    subject: str
    headers: dict[str, str]
    body: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup holds. ``schemas`` are the numbers of the newest migrations, ``files`` the hashes of its own.

    ``missing`` are the objects that were named but gone or damaged where they lay. ``taken_in`` is how many of the
    facts, from the first on, each service was done with: their ids may be forgotten where they were claimed.
    """

    format: int
    taken_at: datetime
    schemas: dict[str, int]
    facts: int
    files: dict[str, str]
    objects: dict[str, Object]
    missing: tuple[str, ...] = ()
    taken_in: dict[str, int] = {}


async def backup(source: Source, folder: Path) -> Manifest:
    """Write a backup; it appears under its name only when whole. ``Conflict`` when something is there already."""
    if folder.exists():
        raise Conflict(f"{folder} exists. A backup never writes over anything: name a folder that does not exist.")
    partial = folder.with_name(folder.name + ".partial")
    for tries_left in reversed(range(TRIES)):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        manifest = await _take(source, partial)
        if manifest.missing and tries_left:
            continue
        partial.rename(folder)
        break
    return manifest


async def _take(source: Source, folder: Path) -> Manifest:
    url = source.database_url.rsplit("/", 1)[0] + f"/{DATABASE}"
    floors = await _acknowledged(source)
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            rows = await read_rows(connection)
            schemas = {
                name: await connection.fetchval(f"SELECT max(number) FROM {name}.migration") for name in SERVICES
            }
            taken_at = datetime.now(UTC)
            await asyncio.to_thread(_dump, url, snapshot, folder / DUMP)
    finally:
        await connection.close()
    facts = await _streams(source, folder, rows)
    objects, missing = await _objects(source, folder, Look(rows=rows, facts=[*facts, *waiting(rows)]))
    private(folder / SECRETS, json.dumps(source.secrets))
    private(folder / KEY, source.owner_key)
    names = [DUMP, SECRETS, KEY, *(f"{stream}.jsonl" for stream in (EVENTS, DEADLETTERS))]
    manifest = Manifest(
        format=FORMAT,
        taken_at=taken_at,
        schemas=schemas,
        facts=len(facts),
        files={name: hash_file(folder / name).sha256 for name in names},
        objects=objects,
        missing=missing,
        taken_in={name: sum(fact.sequence <= floor for fact in facts) for name, floor in floors.items()},
    )
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    return manifest


def _dump(url: str, snapshot: str, path: Path) -> None:
    """Dump the database as it was at a snapshot that another connection holds open."""
    run_tool("pg_dump", url, "--format=custom", f"--snapshot={snapshot}", f"--file={path}")


def run_tool(name: str, url: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on a database; the password goes by its environment, where nobody reads it."""
    parts = urlsplit(url)
    where = [f"--host={parts.hostname}", f"--port={parts.port}", f"--username={parts.username}"]
    command = [str(binaries() / name), *where, f"--dbname={parts.path[1:]}", *arguments]
    secret = {"PGPASSWORD": unquote(parts.password or "")}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | secret)
    if done.returncode:
        raise WoodshedError(f"{name} ended with {done.returncode}: {done.stderr.strip()}")


async def _acknowledged(source: Source) -> dict[str, int]:
    """Return the place in the stream up to which each service has acknowledged everything: its effects are rows."""
    client = await nats.connect(source.nats_url, user=ADMIN, password=source.secrets[ADMIN], name="backup")
    try:
        js = client.jetstream(timeout=30)
        consumers = [await js.consumer_info(EVENTS, str(durable.durable_name)) for durable in durables()]
        return {each.name: each.ack_floor.stream_seq if each.ack_floor else 0 for each in consumers}
    finally:
        await client.close()


async def _streams(source: Source, folder: Path, rows: dict[str, list[Any]]) -> list[Told]:
    """Write down the facts that the rows know, and what was set aside; return the facts."""
    numbered = {(name, row["aggregate"]): row["version"] for name in SERVICES for row in rows[f"{name}.version"]}
    seen = {each.id for each in waiting(rows)}
    kept = []
    client = await nats.connect(source.nats_url, user=ADMIN, password=source.secrets[ADMIN], name="backup")
    try:
        js = client.jetstream(timeout=30)
        with (folder / f"{EVENTS}.jsonl").open("wb") as file:
            async for message in messages(js, EVENTS):
                fact = told(message.headers or {}, message.subject, message.data, message.metadata)
                known = fact.version <= numbered.get((fact.teller, fact.aggregate), 0)
                if known and fact.id not in seen:
                    seen.add(fact.id)
                    kept.append(fact)
                    file.write(_line(message))
        await _dead_letters(js, folder)
    finally:
        await client.close()
    return kept


async def _dead_letters(js: JetStreamContext, folder: Path) -> None:
    with (folder / f"{DEADLETTERS}.jsonl").open("wb") as file:
        async for message in messages(js, DEADLETTERS):
            file.write(_line(message))


def _line(message: Any) -> bytes:
    """Keep a message with its own headers; those of the batch it once came in would make a new one."""
    headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-Batch")}
    body = message.data.decode(errors="surrogateescape")
    return json.dumps({"subject": message.subject, "headers": headers, "body": body}).encode() + b"\n"


async def _objects(source: Source, folder: Path, look: Look) -> tuple[dict[str, Object], tuple[str, ...]]:
    """Copy every object that something names, those that may be pruned first; return them, and those not to be had."""
    storage = Storage.open(source.storage_url)
    look.objects = await storage.objects()
    named = {key: sha256 async for key, sha256, _ in vouched(storage, look)}
    found, missing = {}, []
    (folder / OBJECTS).mkdir()
    for key in sorted(named, key=lambda key: ("/runs/" not in key, key)):
        try:
            path = await storage.fetch(key, folder / OBJECTS / key, named[key])
            found[key] = Object(path.stat().st_size, named[key])
        except (NotFound, Corrupted):
            missing.append(key)
    return found, tuple(missing)


def private(path: Path, text: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)


@asynccontextmanager
async def servers_of(home: Home) -> AsyncIterator[Source]:
    """Reach an embedded installation, or start its servers alone while inside when nothing runs there."""
    if holder(home):
        yield source_of(home, json.loads((home.folder / "ports.json").read_text()))
        return
    with Lock(home):
        clean_up(home)
        given, supervisor = ports(home), Supervisor(home.folder / "logs")
        try:
            await start_servers(home, given, supervisor)
            yield source_of(home, given)
        finally:
            await supervisor.stop()


def source_of(home: Home, given: dict[str, int]) -> Source:
    """Return where the servers of a home listen on these ports."""
    secrets, key = home.secrets(), home.folder / "owner.key"
    return Source(
        database_url=Cluster.address(SUPERUSER, secrets["postgres"], given["postgres"], "postgres"),
        nats_url=f"nats://127.0.0.1:{given['nats']}",
        secrets=secrets,
        storage_url=home.storage_url,
        owner_key=key.read_text() if key.exists() else "",
    )


async def _run(home: Home, folder: Path) -> int:
    if not (home.folder / "ports.json").exists():
        raise NotFound(f"Nothing was started on {home.folder} yet, so there is nothing to keep.")
    async with servers_of(home) as source:
        manifest = await backup(source, folder)
    for key in manifest.missing:
        print(f"Left out, since it is gone or damaged: {key}", file=sys.stderr)
    size = sum(each.size for each in manifest.objects.values())
    print(f"{folder}: {manifest.facts} facts, {len(manifest.objects)} objects, {size / 1e6:.1f} MB of them.")
    print("It holds the installation's secrets: keep it where only you can read it.")
    return 1 if manifest.missing else 0


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Copy an installation, running or not, into a folder.")
    parser.add_argument("folder", type=Path, nargs="?", help="a folder that does not exist (default: beside the home)")
    parser.add_argument("--home", type=Path, help="the installation (default: WOODSHED_HOME, else .woodshed)")
    given = parser.parse_args()
    home = Home(given.home.resolve()) if given.home else Home(Home.default().folder.resolve())
    beside = home.folder.with_name(f"{home.folder.name}-backups") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    sys.exit(until_told(_run(home, (given.folder or beside).resolve())))


if __name__ == "__main__":
    main()
