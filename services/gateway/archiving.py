"""A ZIP over HTTP, made while it is sent: a megabyte of it in memory, nothing on disk.

Its files are stored as they are, for weights do not shrink. A part of it is made like the whole, and what lies before
it is left out: a download that broke off goes on at the price of reading again.
"""

import zipfile
from collections.abc import AsyncIterator
from typing import IO, Any, cast

from litestar import Request, Response
from litestar.response import Stream

from libs.storage import Storage
from services.gateway.domain import ranges
from services.gateway.domain.deployment import Archive, Entry
from services.gateway.downloads import headers_of, unsatisfiable, wanted

MEDIA_TYPE = "application/zip"


class _Sink:
    """A file that ``zipfile`` can write to and not go back in; what was written is taken away."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._written = b"".join(self._written), []
        return taken


async def send(request: Request[Any, Any, Any], storage: Storage, archive: Archive, filename: str) -> Response[Any]:
    """Answer a GET for an archive: whole, the part that ``Range`` asks for, or not at all to whom has it."""
    headers = headers_of(archive.tag, filename)
    if ranges.known_already(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(b"", status_code=304, headers=headers)
    if archive.size is None:
        headers["Accept-Ranges"] = "none"
        return Stream(zipped(storage, archive), media_type=MEDIA_TYPE, headers=headers)
    try:
        part = wanted(request, headers["ETag"], archive.size)
    except ranges.Unsatisfiable:
        return unsatisfiable(archive.size)
    start, end = part or (0, archive.size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{archive.size}"
    headers["Content-Length"] = str(end - start)
    body = cut(zipped(storage, archive), start, end)
    return Stream(body, status_code=206 if part else 200, media_type=MEDIA_TYPE, headers=headers)


async def zipped(storage: Storage, archive: Archive) -> AsyncIterator[bytes]:
    """Yield the bytes of the ZIP."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_STORED) as whole:
        for entry in archive.entries:
            about = zipfile.ZipInfo(entry.name, archive.at.timetuple()[:6])
            about.file_size, about.external_attr, about.create_system = entry.size, 0o644 << 16, 3
            with whole.open(about, "w") as file:
                async for chunk in _bytes(storage, entry):
                    file.write(chunk)
                    yield sink.take()
    yield sink.take()


async def cut(chunks: AsyncIterator[bytes], start: int, end: int) -> AsyncIterator[bytes]:
    """Yield what lies from ``start`` up to but not including ``end``."""
    at = 0
    async for chunk in chunks:
        if kept := chunk[max(0, start - at) : max(0, end - at)]:
            yield kept
        at += len(chunk)
        if at >= end:
            return


async def _bytes(storage: Storage, entry: Entry) -> AsyncIterator[bytes]:
    if not entry.key:
        yield entry.content
        return
    async for chunk in storage.stream(entry.key):
        yield chunk
