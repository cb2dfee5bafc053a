"""Uploads in parts (OpenAI's wire): announced, sent in pieces in any order, made one file of, or thrown away.

A part that was answered is safe in storage. Making the file reads the parts as they lie there, checks each against its
hash, and holds a few megabytes at a time. Asked for again, a completed upload answers the same once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from asyncpg import Record
from litestar import Request, Router, post
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath, JSONBody

from contracts.base import new_id
from contracts.files import FileUploaded
from libs.db import Database, Transaction
from libs.errors import Rejected, TooLarge
from libs.storage import Storage
from services.gateway import uploads
from services.gateway.auth import Caller
from services.gateway.dependencies import Db, TheCaller, TheSettings, TheStorage, Tx
from services.gateway.domain import shapes, wire, wishes
from services.gateway.domain import uploads as domain
from services.gateway.domain.naming import CONTENT, shown_filename
from services.gateway.domain.purposes import expiry_of
from services.gateway.domain.repeats import claim_of
from services.gateway.domain.statuses import Row
from services.gateway.joining import gone_if_refused, gone_unless_kept, join
from services.gateway.once import once
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import files as file_queries
from services.gateway.queries import uploads as queries
from services.gateway.quotas import room_for_file
from services.gateway.routes.found import the_upload
from services.gateway.settings import Settings
from services.gateway.trail import note

FORM_BYTES = 64 << 10
"""What a form may be larger than the part in it."""


@dataclass
class PartOperation(Operation):
    """Says in OpenAPI what the form carries; the handler reads it as a stream."""

    def __post_init__(self) -> None:
        binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        form = Schema(
            type=OpenAPIType.OBJECT, properties={"data": binary}, required=["data"], additional_properties=False
        )
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@post(
    "/",
    operation_id="createUpload",
    opt=needs("files.write"),
    summary="Announce an upload in parts",
    status_code=200,
    responses=documented(413),
)
async def create_upload(
    data: JSONBody[wishes.UploadWish], request: Request[Any, Any, Any], caller: TheCaller, tx: Tx, settings: TheSettings
) -> wire.Upload:
    """Announce a file that comes in parts. It has to be completed within the hour."""
    claim = claim_of(request.headers, caller.prefix, "POST", request.url.path, await request.body())
    return await once(tx, claim, wire.Upload, partial(_announce, data, caller, tx, settings))


@post(
    "/{upload_id:str}/parts",
    operation_id="addUploadPart",
    opt=needs("files.write"),
    summary="Send a part",
    status_code=200,
    operation_class=PartOperation,
    responses=documented(404, 413, 507),
)
async def add_part(
    upload_id: FromPath[str], request: Request[Any, Any, Any], caller: TheCaller, db: Db, storage: TheStorage
) -> wire.UploadPart:
    """Store a part. Parts may come in any order and at the same time; the order is said at the end."""
    async with db.transaction(caller.tenant) as tx:
        domain.check_open(await the_upload(tx, upload_id), datetime.now(UTC))
    part_id = new_id("part")
    key = f"{caller.tenant}/uploads/{upload_id}/{part_id}"
    async with gone_unless_kept(storage, key):
        form = await uploads.receive(request, storage, key, part="data")
    async with gone_if_refused(storage, key), db.transaction(caller.tenant) as tx:
        return shapes.part_of(await _enter(tx, upload_id, part_id, form))


@post(
    "/{upload_id:str}/complete",
    operation_id="completeUpload",
    opt=needs("files.write"),
    summary="Make a file of the parts",
    status_code=200,
    responses=documented(404, 507),
)
async def complete_upload(
    upload_id: FromPath[str],
    data: JSONBody[wishes.CompletionWish],
    caller: TheCaller,
    db: Db,
    storage: TheStorage,
    settings: TheSettings,
) -> wire.Upload:
    """Join parts in the order given. The answer's ``file`` can be used like any other upload."""
    md5 = domain.checked_md5(data.md5)
    async with db.transaction(caller.tenant) as tx:
        upload = await the_upload(tx, upload_id)
        if upload["status"] == "completed":
            return await _completed(tx, upload)
        domain.check_open(upload, datetime.now(UTC))
        parts = domain.in_order(upload, await queries.parts(tx, upload_id), data.part_ids)
    return await _make_file(db, storage, settings, caller, upload, parts, md5)


@post(
    "/{upload_id:str}/cancel",
    operation_id="cancelUpload",
    opt=needs("files.write"),
    summary="Throw an upload away",
    status_code=200,
    responses=documented(404),
)
async def cancel_upload(upload_id: FromPath[str], caller: TheCaller, tx: Tx) -> wire.Upload:
    """Throw an upload away, its parts too. One that was completed has become a file: delete that."""
    upload = await the_upload(tx, upload_id, hold=True)
    if upload["status"] != "cancelled":
        domain.check_open(upload, datetime.now(UTC))
        upload = await queries.cancel(tx, upload_id)
        await note(tx, caller, "upload.cancelled", upload_id)
    return shapes.upload_of(upload, datetime.now(UTC))


def router(settings: Settings) -> Router:
    """Return the routes of uploads; a part may be as large as the settings say."""
    parts = Router("/", route_handlers=[add_part], request_max_body_size=settings.max_part_bytes + FORM_BYTES)
    return Router("/v1/uploads", route_handlers=[create_upload, complete_upload, cancel_upload, parts], tags=["Files"])


async def _announce(wish: wishes.UploadWish, caller: Caller, tx: Transaction, settings: Settings) -> wire.Upload:
    if wish.bytes > settings.max_upload_bytes:
        raise TooLarge(
            f"The file has {wish.bytes:,} bytes; this installation takes {settings.max_upload_bytes:,}.", field="bytes"
        )
    at = datetime.now(UTC)
    row = await queries.add(
        tx,
        new_id("upload"),
        shown_filename(wish.filename),
        wish.purpose,
        wish.bytes,
        wish.expires_after.seconds if wish.expires_after else None,
        at,
        at + timedelta(seconds=settings.upload_seconds),
    )
    await note(tx, caller, "upload.announced", row["upload_id"], bytes=wish.bytes)
    return shapes.upload_of(row, at)


async def _enter(tx: Transaction, upload_id: str, part_id: str, form: uploads.Form) -> Record:
    upload, at = await the_upload(tx, upload_id, hold=True), datetime.now(UTC)
    domain.check_open(upload, at)
    if form.stored is None or form.fields:
        raise Rejected("The form has to carry one part named data.", code="bad_form", field="data")
    domain.check_room(upload, await queries.received(tx, upload_id), form.stored.size)
    return await queries.add_part(tx, part_id, upload_id, form.key, form.stored.size, form.stored.sha256, at)


async def _make_file(
    db: Database,
    storage: Storage,
    settings: Settings,
    caller: Caller,
    upload: Record,
    parts: Sequence[Row],
    md5: str | None,
) -> wire.Upload:
    """Write the file under a key of its own, then let one transaction decide whether it counts."""
    tenant, file_id = upload["tenant"], new_id("file")
    key = f"{tenant}/files/{file_id}/{CONTENT}"
    async with gone_unless_kept(storage, key):
        joined = await join(storage, key, parts)
        domain.check_md5(md5, joined.md5)
    fact = FileUploaded(
        tenant=tenant,
        at=datetime.now(UTC),
        file_id=file_id,
        purpose=upload["purpose"],
        size=joined.stored.size,
        sha256=joined.stored.sha256,
        uri=key,
    )
    async with gone_if_refused(storage, key), db.transaction(tenant) as tx:
        now = await the_upload(tx, upload["upload_id"], hold=True)
        if now["status"] != "completed":
            domain.check_unfinished(now)
            file = await file_queries.add(
                tx, fact, upload["filename"], expiry_of(upload["purpose"], upload["lifetime"], fact.at)
            )
            done = await queries.complete(tx, upload["upload_id"], file_id)
            await tx.tell(fact)
            await room_for_file(tx, settings)
            await note(tx, caller, "file.uploaded", file_id, sha256=fact.sha256)
            return shapes.upload_of(done, fact.at, file)
        before = await _completed(tx, now)
    await storage.delete(key)
    return before


async def _completed(tx: Transaction, upload: Record) -> wire.Upload:
    return shapes.upload_of(upload, datetime.now(UTC), await file_queries.get(tx, upload["file_id"]))
