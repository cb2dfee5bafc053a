"""Makes one object of several, a megabyte at a time, checking each against the hash it was stored with."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from libs.errors import WoodshedError
from libs.storage import Storage, Stored
from libs.storage.store import Corrupted
from services.gateway.domain.statuses import Row


class Joined(NamedTuple):
    """What was written, and the MD5 sum of it (32 hexadecimal digits)."""

    stored: Stored
    md5: str


async def join(storage: Storage, key: str, parts: Sequence[Row]) -> Joined:
    """Write the parts, one after the other, under ``key``; ``Corrupted`` if one is not what was acknowledged."""
    md5 = hashlib.md5(usedforsecurity=False)
    stored = await storage.put_stream(key, _joined(storage, parts, md5))
    return Joined(stored, md5.hexdigest())


async def _joined(storage: Storage, parts: Sequence[Row], md5: Any) -> AsyncIterator[bytes]:
    for part in parts:
        digest = hashlib.sha256()
        async for chunk in storage.stream(part["uri"]):
            digest.update(chunk)
            md5.update(chunk)
            yield chunk
        if digest.hexdigest() != part["sha256"]:
            raise Corrupted(f"The part {part['part_id']} does not have the bytes it was sent with. Send it again.")


@asynccontextmanager
async def gone_unless_kept(storage: Storage, key: str) -> AsyncIterator[None]:
    """Delete what was being written when writing fails, whatever the reason."""
    try:
        yield
    except BaseException:
        await storage.delete(key)
        raise


@asynccontextmanager
async def gone_if_refused(storage: Storage, key: str) -> AsyncIterator[None]:
    """Delete what was written when a decision went against it.

    Not when the database was lost: it may have committed, and bytes without a row are better than a row without bytes.
    """
    try:
        yield
    except WoodshedError:
        await storage.delete(key)
        raise
