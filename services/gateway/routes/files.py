"""Files: upload, list, read, delete. Uploads stream to storage; the row and its fact come after the bytes are safe."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from asyncpg import Record
from litestar import Request, Response, Router, delete, get, post
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath, FromQuery

from contracts.base import new_id
from contracts.files import FileUploaded
from libs.db import Database, Transaction
from libs.errors import Conflict, NotFound, OverQuota, Rejected
from services.gateway import downloads, uploads
from services.gateway.auth import Caller
from services.gateway.collecting import delete_bytes
from services.gateway.dependencies import Db, TheCaller, TheSettings, TheStorage, Tx
from services.gateway.domain import shapes, wire
from services.gateway.domain.naming import CONTENT, shown_filename
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.domain.purposes import LONGEST, PURPOSES, SHORTEST, chosen_purpose, expiry_of, lifetime_of
from services.gateway.listing import up_to
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import files as queries
from services.gateway.quotas import room_for_file
from services.gateway.routes.found import the_file
from services.gateway.settings import Settings
from services.gateway.trail import note


@dataclass
class UploadOperation(Operation):
    """Says in OpenAPI what the form carries; the handler reads it as a stream."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING, enum=list(PURPOSES))
        binary = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
        anchor = Schema(type=OpenAPIType.STRING, enum=["created_at"])
        seconds = Schema(type=OpenAPIType.INTEGER, minimum=SHORTEST, maximum=LONGEST)
        expiry = Schema(
            type=OpenAPIType.OBJECT,
            properties={"anchor": anchor, "seconds": seconds},
            required=["anchor", "seconds"],
            additional_properties=False,
            description="Sent as the fields expires_after[anchor] and expires_after[seconds].",
        )
        form = Schema(
            type=OpenAPIType.OBJECT,
            properties={"purpose": text, "file": binary, "expires_after": expiry},
            required=["purpose", "file"],
            additional_properties=False,
        )
        self.request_body = RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=form)}, required=True)


@post(
    "/",
    operation_id="createFile",
    opt=needs("files.write"),
    summary="Upload a file",
    status_code=200,
    operation_class=UploadOperation,
    responses=documented(413, 507),
)
async def create_file(
    request: Request[Any, Any, Any], caller: TheCaller, db: Db, storage: TheStorage, settings: TheSettings
) -> wire.File:
    """Store a file. Once answered, it can be read back byte for byte until it is deleted or expires."""
    file_id = new_id("file")
    folder = f"{caller.tenant}/files/{file_id}"
    await _check_declared(request, caller, db, settings)
    try:
        form = await uploads.receive(request, storage, f"{folder}/{CONTENT}")
        lifetime = lifetime_of(form.fields)
        fact = _uploaded(caller.tenant, file_id, form)
    except BaseException:
        await storage.delete_prefix(folder)
        raise
    try:
        row = await _accept(db, caller, settings, fact, form.filename, expiry_of(fact.purpose, lifetime, fact.at))
    except OverQuota:
        await storage.delete_prefix(folder)
        raise
    return shapes.file_of(row)


@get("/", operation_id="listFiles", opt=needs("files.read"), summary="List files", responses=documented())
async def list_files(
    tx: Tx,
    purpose: FromQuery[str | None] = None,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(10_000)] = 10_000,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
) -> Page[wire.File]:
    """List files, the latest first unless ``order`` is ``asc``."""
    checked_limit(limit, 10_000)
    find = queries.newest_first if order == "desc" else queries.oldest_first
    rows = await find(tx, purpose, after, limit + 1)
    return page_of([shapes.file_of(row) for row in rows], [row["file_id"] for row in rows], limit)


@get(
    "/{file_id:str}",
    operation_id="retrieveFile",
    opt=needs("files.read"),
    summary="Describe a file",
    responses=documented(404),
)
async def retrieve_file(file_id: FromPath[str], tx: Tx) -> wire.File:
    """Describe a file: its name, size and sha256."""
    return shapes.file_of(await the_file(tx, file_id))


@get(
    "/{file_id:str}/content",
    operation_id="downloadFile",
    opt=needs("files.read"),
    summary="Download a file",
    responses=documented(404, 416),
    media_type="application/octet-stream",
)
async def download_file(
    file_id: FromPath[str], request: Request[Any, Any, Any], tx: Tx, storage: TheStorage
) -> Response[bytes]:
    """Send a file's bytes: whole, or the part that ``Range`` asks for."""
    row = await the_file(tx, file_id)
    return await downloads.send(
        request, storage, row["uri"], tenant=tx.tenant, sha256=row["sha256"], filename=row["filename"]
    )


@delete(
    "/{file_id:str}",
    operation_id="deleteFile",
    opt=needs("files.write"),
    summary="Delete a file",
    status_code=200,
    responses=documented(404, 409),
)
async def delete_file(file_id: FromPath[str], caller: TheCaller, db: Db, storage: TheStorage) -> wire.DeletedFile:
    """Delete a file and its bytes. Datasets and models that were made of it stay."""
    async with db.transaction(caller.tenant) as tx:
        uri = await _hide(tx, file_id)
        await note(tx, caller, "file.deleted", file_id)
    await delete_bytes(db, storage, caller.tenant, file_id, uri)
    return wire.DeletedFile(id=file_id)


def router(settings: Settings) -> Router:
    """Return the routes of files; uploads may be as large as the settings say."""
    return Router(
        "/v1/files",
        route_handlers=[create_file, list_files, retrieve_file, download_file, delete_file],
        request_max_body_size=settings.max_upload_bytes,
        tags=["Files"],
    )


async def _accept(
    db: Database, caller: Caller, settings: Settings, fact: FileUploaded, filename: str, expires_at: datetime | None
) -> Record:
    async with db.transaction(caller.tenant) as tx:
        row = await queries.add(tx, fact, shown_filename(filename), expires_at)
        await tx.tell(fact)
        await room_for_file(tx, settings)
        await note(tx, caller, "file.uploaded", fact.file_id, sha256=fact.sha256)
    return row


async def _check_declared(request: Request[Any, Any, Any], caller: Caller, db: Database, settings: Settings) -> None:
    """Refuse what says itself that it is too much, before it is sent."""
    async with db.transaction(caller.tenant) as tx:
        declared = request.headers.get("content-length", "")
        await room_for_file(tx, settings, int(declared) if declared.isdecimal() else 0)


def _uploaded(tenant: str, file_id: str, form: uploads.Form) -> FileUploaded:
    """Return the fact that an upload is, or ``Rejected`` saying what the form lacks."""
    purpose = form.fields.pop("purpose", None)
    if form.fields:
        name = next(iter(form.fields))
        raise Rejected(f"The form field {name!r} means nothing here. Send purpose, file, expires_after.", field=name)
    if form.stored is None:
        raise Rejected("The form has no file.", code="missing_file", field="file", fix="Send it as the part `file`.")
    purpose = chosen_purpose(purpose)
    if form.stored.size == 0:
        raise Rejected("The file is empty: there is nothing in it to use.", code="empty_file", field="file")
    return FileUploaded(
        tenant=tenant,
        at=datetime.now(UTC),
        file_id=file_id,
        purpose=purpose,
        size=form.stored.size,
        sha256=form.stored.sha256,
        uri=form.key,
    )


async def _hide(tx: Transaction, file_id: str) -> str:
    if await queries.being_imported(tx, file_id):
        raise Conflict(
            "The file is being imported into a dataset right now.",
            code="file_in_use",
            fix="Wait until GET /v1/datasets shows it ready or refused, then delete it.",
        )
    uri = await queries.begin_deletion(tx, file_id)
    if uri is None:
        raise NotFound(f"There is no file {file_id[:100]!r}.")
    return uri
