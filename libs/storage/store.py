"""One small door to object storage, through obstore.

A folder on disk is fsynced after each object: what was acknowledged survives power loss,
as it does in S3.
"""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlparse

import obstore
from msgspec import Struct
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from libs.errors import NotFound, WoodshedError

CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AWAY = (OSError, BaseError)
"""What a storage raises that cannot be reached or refuses: a work loop tries again later."""


class StorageFull(WoodshedError):
    """No room is left on the disk: free some and ask again, nothing was lost."""

    status = 507
    code = "disk_full"


class Corrupted(WoodshedError):
    """What is stored is not what was written: its sha256 differs."""

    status = 500
    code = "corrupted"


class Stored(Struct, frozen=True):
    """What was written: ``size`` in bytes and ``sha256`` in hex."""

    size: int
    sha256: str


class Listed(Struct, frozen=True):
    """An object as a listing shows it: its key, its size in bytes, and when it was written."""

    key: str
    size: int
    modified: datetime


class Storage:
    """Puts, gets, lists and deletes objects by key."""

    def __init__(self, store: ObjectStore, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    @classmethod
    def open(cls, url: str) -> "Storage":
        """Open ``file:///folder`` (made if missing) or ``s3://bucket/prefix`` (AWS_* variables say where and who)."""
        parts = urlparse(url)
        if parts.scheme == "file":
            folder = Path(parts.path)
            folder.mkdir(parents=True, exist_ok=True)
            return cls(LocalStore(folder), folder)
        if parts.scheme == "s3":
            plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
            prefix = parts.path.strip("/") or None
            return cls(S3Store(parts.netloc, prefix=prefix, client_options={"allow_http": plain}))
        raise ValueError(f"storage_url {url!r}: use file:///folder or s3://bucket/prefix")

    async def put_bytes(self, key: str, data: bytes) -> Stored:
        """Write one small object whole."""
        await self._put(key, data)
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    async def put_file(self, key: str, path: Path) -> Stored:
        """Write a file as an object, in parts where it is large."""
        stored = await asyncio.to_thread(hash_file, path)
        await self._put(key, path)
        return stored

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> Stored:
        """Write what ``chunks`` yield, holding a few megabytes at a time."""
        digest, size = hashlib.sha256(), 0
        try:
            async with obstore.open_writer_async(self._store, key) as writer:
                async for chunk in chunks:
                    digest.update(chunk)
                    size += len(chunk)
                    await writer.write(chunk)
        except Exception as error:
            raise _clear(error) from error
        await self._sync(key)
        return Stored(size, digest.hexdigest())

    async def get_bytes(self, key: str) -> bytes:
        """Read one small object whole; ``NotFound`` if it is not there."""
        try:
            result = await obstore.get_async(self._store, key)
            return bytes(await result.bytes_async())
        except FileNotFoundError as error:
            raise _missing(key) from error

    async def stream(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from ``start`` up to, not including, ``end``."""
        size = await self.size(key)
        position, stop = start, size if end is None else min(end, size)
        while position < stop:
            part = await obstore.get_range_async(self._store, key, start=position, end=min(position + CHUNK, stop))
            position += len(part)
            yield bytes(part)

    async def fetch(self, key: str, path: Path, sha256: str | None = None) -> Path:
        """Copy an object to a file; ``Corrupted`` if its hash is not ``sha256``. The file appears only when whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        try:
            found = await self._copy(key, partial)
            if sha256 and found != sha256:
                raise Corrupted(f"{key} does not have the sha256 it was stored with. Restore it from a backup.")
            partial.replace(path)
        except OSError as error:
            raise _clear(error) from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    async def _copy(self, key: str, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("wb") as file:
            async for chunk in self.stream(key):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    async def size(self, key: str) -> int:
        """Return the size in bytes; ``NotFound`` if it is not there."""
        try:
            return int((await obstore.head_async(self._store, key))["size"])
        except FileNotFoundError as error:
            raise _missing(key) from error

    async def list(self, prefix: str) -> list[str]:
        """Return the keys below ``prefix``, sorted."""
        found = []
        async for batch in obstore.list(self._store, prefix):
            found += [entry["path"] for entry in batch]
        return sorted(found)

    async def objects(self, prefix: str = "") -> dict[str, Listed]:
        """Return what lies below ``prefix``, by key."""
        found = {}
        async for batch in obstore.list(self._store, prefix or None):
            for entry in batch:
                found[entry["path"]] = Listed(entry["path"], entry["size"], entry["last_modified"])
        return found

    async def delete(self, key: str) -> None:
        """Delete one object; no error if it is gone already."""
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return

    async def delete_prefix(self, prefix: str) -> None:
        """Delete everything below ``prefix``."""
        for key in await self.list(prefix):
            await self.delete(key)

    async def _put(self, key: str, data: bytes | Path) -> None:
        try:
            await obstore.put_async(self._store, key, data)
        except Exception as error:
            raise _clear(error) from error
        await self._sync(key)

    async def _sync(self, key: str) -> None:
        if self._folder:
            await asyncio.to_thread(_fsync, self._folder / key)


def hash_file(path: Path) -> Stored:
    """Return size and sha256 of a file, read in chunks."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Stored(file.tell(), digest.hexdigest())


def _fsync(path: Path) -> None:
    for each in (path, path.parent):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _missing(key: str) -> NotFound:
    return NotFound(f"Storage has no object {key}.")


def _clear(error: Exception) -> Exception:
    """Name a full disk, quota or file limit as what it is; obstore wraps the system's error in its own."""
    if getattr(error, "errno", None) in FULL or any(f"(os error {number})" in str(error) for number in FULL):
        return StorageFull("No room is left on the disk. Free some space and try again; nothing was lost.")
    return error
