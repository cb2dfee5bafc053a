"""A stored thing over HTTP: whole or in part, and not at all to a client that holds it already.

The entity tag is the sha256, so a download that broke off can be resumed and checked.
"""

from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.response import Stream

from libs.storage import Storage
from services.gateway import problems
from services.gateway.domain import ranges


async def send(
    request: Request[Any, Any, Any],
    storage: Storage,
    key: str,
    *,
    tenant: str,
    sha256: str,
    filename: str,
    media_type: str = "application/octet-stream",
    inline: bool = False,
) -> Response[Any]:
    """Answer a GET for the object under ``key``, which must be the tenant's own."""
    if not key.startswith(f"{tenant}/"):
        raise PermissionError(f"{tenant} was pointed at {key}")
    headers = headers_of(sha256, filename, inline=inline)
    if ranges.known_already(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(b"", status_code=304, headers=headers)
    size = await storage.size(key)
    try:
        part = wanted(request, headers["ETag"], size)
    except ranges.Unsatisfiable:
        return unsatisfiable(size)
    start, end = part or (0, size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    headers["Content-Length"] = str(end - start)
    return Stream(
        storage.stream(key, start, end), status_code=206 if part else 200, media_type=media_type, headers=headers
    )


def wanted(request: Request[Any, Any, Any], etag: str, size: int) -> ranges.Part | None:
    """Return the part to send. A client that resumes another version (``If-Range``) gets the whole."""
    resumes = request.headers.get("if-range", etag)
    return ranges.wanted(request.headers.get("range", ""), size) if resumes == etag else None


def unsatisfiable(size: int) -> Response[bytes]:
    """Answer a range that begins behind the end."""
    response = problems.answer(416, f"The range begins behind the end: there are {size:,} bytes.", "bad_range")
    response.headers["Content-Range"] = f"bytes */{size}"
    return response


def headers_of(sha256: str, filename: str, *, inline: bool = False) -> dict[str, str]:
    """Return what names these very bytes to whoever downloads them."""
    kind = "inline" if inline else "attachment"
    return {
        "ETag": f'"{sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"{kind}; filename*=UTF-8''{quote(filename, safe='')}",
    }
