"""A multipart form with one file in it, from the network straight to storage: a few megabytes in memory at most."""

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request
from msgspec import Struct
from multipart import MultipartError, MultipartSegment, PushMultipartParser  # type: ignore[import-untyped]

from libs.errors import Rejected
from libs.storage import Storage, Stored

FIELD_LIMIT = 1000

Events = AsyncIterator[MultipartSegment | bytearray | bytes | None]


class Form(Struct):
    """What a form carried: its short fields, and its file as it lies in storage."""

    fields: dict[str, str]
    filename: str = ""
    key: str = ""
    stored: Stored | None = None


async def receive(request: Request[Any, Any, Any], storage: Storage, key: str, *, part: str = "file") -> Form:
    """Read the form, writing the bytes of ``part`` under ``key``: no name that a person gave is part of it."""
    form = Form(fields={})
    events = _events(request)
    try:
        async for event in events:
            if isinstance(event, MultipartSegment):
                await _take(event, events, form, storage, key, part)
    except MultipartError as error:
        raise Rejected(
            f"The form cannot be read: {error}. Send multipart/form-data as /docs shows it.", code="bad_form"
        ) from error
    return form


async def _take(part: MultipartSegment, events: Events, form: Form, storage: Storage, key: str, wanted: str) -> None:
    if part.name == wanted and form.stored is None:
        form.filename = part.filename or ""
        form.key = key
        form.stored = await storage.put_stream(key, _body(events))
    elif part.filename is None and part.name:
        form.fields[part.name] = await _text(part.name, events)
    else:
        raise Rejected(
            f"The form has a part that is neither a field nor its one {wanted}. Send each once.",
            code="bad_form",
            field=part.name,
        )


async def _events(request: Request[Any, Any, Any]) -> Events:
    """Yield what the parser finds: a segment, its bytes, ``None`` at its end."""
    kind, options = request.content_type
    if kind != "multipart/form-data" or "boundary" not in options:
        raise Rejected("Send the file as multipart/form-data with a boundary.", code="bad_form")
    with PushMultipartParser(options["boundary"], max_segment_count=20) as parser:
        async for chunk in request.stream():
            if chunk:
                for event in parser.parse(chunk):
                    yield event


async def _body(events: Events) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            return
        assert not isinstance(event, MultipartSegment)
        yield bytes(event)


async def _text(name: str, events: Events) -> str:
    value = b""
    async for chunk in _body(events):
        value += chunk
        if len(value) > FIELD_LIMIT:
            raise Rejected(f"The field is longer than {FIELD_LIMIT} bytes.", code="bad_form", field=name)
    return value.decode(errors="replace")
