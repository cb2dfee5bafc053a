"""Links that download one object without an API key: made, listed and revoked with one, used without."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from asyncpg import Record
from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import Struct

from contracts.base import new_id
from libs.db import Transaction
from libs.errors import Conflict, NotFound
from services.gateway import downloads
from services.gateway.dependencies import Db, TheCaller, TheSettings, TheStorage, Tx
from services.gateway.domain import links
from services.gateway.domain.paging import Page, checked_limit, page_of
from services.gateway.listing import up_to
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import files as file_queries
from services.gateway.queries import links as queries
from services.gateway.queries import results as result_queries
from services.gateway.routes.reports import REPORT_TYPES
from services.gateway.settings import Settings
from services.gateway.trail import note

Asking = Request[Any, Any, Any]


class Target(Struct, frozen=True):
    """An object as it lies in storage now."""

    uri: str
    sha256: str
    filename: str
    media_type: str = "application/octet-stream"


@post(
    "/",
    operation_id="createDownloadLink",
    opt=needs("models.download"),
    summary="Make a link",
    status_code=200,
    responses=documented(404, 409, 422),
)
async def create_link(
    data: JSONBody[links.LinkWish], request: Asking, caller: TheCaller, tx: Tx, settings: TheSettings
) -> links.DownloadLink:
    """Make a link to a file, an adapter's file or a report, for whoever has no API key. It holds for a day."""
    key = _key(settings)
    kind, owner, part = links.target(data)
    found = await _found(tx, kind, owner, part)
    bound = links.Bound(tenant=tx.tenant, kind=kind, owner=owner, part=part, sha256=found.sha256)
    expires_at = links.whole_seconds(datetime.now(UTC) + timedelta(seconds=data.expires_in))
    row = await queries.add(tx, new_id("link"), bound, expires_at, caller.prefix)
    await note(tx, caller, "link.made", row["link_id"], leads_to=owner, part=part, ends=expires_at.isoformat())
    return links.link_of(row, key, _base(request, settings), datetime.now(UTC))


@get(
    "/",
    operation_id="listDownloadLinks",
    opt=needs("models.download"),
    summary="List links",
    responses=documented(409, 422),
)
async def list_links(
    request: Asking,
    tx: Tx,
    settings: TheSettings,
    after: FromQuery[str | None] = None,
    limit: Annotated[int, up_to(100)] = 20,
) -> Page[links.DownloadLink]:
    """List the links, the latest first, with how often each was used."""
    checked_limit(limit, 100)
    key, base, at = _key(settings), _base(request, settings), datetime.now(UTC)
    rows = await queries.newest_first(tx, after, limit + 1)
    return page_of([links.link_of(row, key, base, at) for row in rows], [row["link_id"] for row in rows], limit)


@get(
    "/{link:str}",
    operation_id="retrieveDownloadLink",
    opt=needs("models.download"),
    summary="Describe a link",
    responses=documented(404, 409),
)
async def retrieve_link(link: FromPath[str], request: Asking, tx: Tx, settings: TheSettings) -> links.DownloadLink:
    """Describe a link, and how often it was used."""
    return _shown(await queries.get(tx, link), link, request, settings)


@delete(
    "/{link:str}",
    operation_id="revokeDownloadLink",
    opt=needs("models.download"),
    summary="Revoke a link",
    status_code=200,
    responses=documented(404, 409),
)
async def revoke_link(
    link: FromPath[str], request: Asking, caller: TheCaller, tx: Tx, settings: TheSettings
) -> links.DownloadLink:
    """Make a link void at once; it stays on record. What is being sent is sent to its end."""
    shown = _shown(await queries.revoke(tx, link), link, request, settings)
    await note(tx, caller, "link.revoked", link)
    return shown


@get(
    "/v1/downloads/{link:str}",
    operation_id="downloadByLink",
    summary="Download by a link",
    tags=["Links"],
    security=[{}],
    exclude_from_auth=True,
    responses=documented(404, 410, 416),
    media_type="application/octet-stream",
)
async def download(
    link: FromPath[str],
    expires: FromQuery[int],
    signature: FromQuery[str],
    request: Asking,
    db: Db,
    storage: TheStorage,
    settings: TheSettings,
) -> Response[bytes]:
    """Send what a link leads to, whole or the part that ``Range`` asks for. No API key is needed."""
    async with db.across_tenants() as tx:
        row = await queries.get(tx, link)
    links.check(row, _key(settings), expires, signature, datetime.now(UTC))
    assert row is not None
    async with db.transaction(row["tenant"]) as tx:
        found = await _as_it_was(tx, row)
        if not await queries.use(tx, link, int(links.begins(request.headers.get("range", "")))):
            raise links.Expired("The link was revoked. Ask whoever gave it to you for a new one.", code="link_revoked")
    answer = await downloads.send(
        request,
        storage,
        found.uri,
        tenant=row["tenant"],
        sha256=found.sha256,
        filename=found.filename,
        media_type=found.media_type,
    )
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


router = Router(
    "/v1/download_links",
    route_handlers=[create_link, list_links, retrieve_link, revoke_link],
    tags=["Links"],
)


async def _found(tx: Transaction, kind: str, owner: str, part: str) -> Target:
    """Find the object as it is now, among the tenant's own."""
    row: Record | None
    if kind == "file":
        row = await file_queries.get(tx, owner)
        name, media_type = (row["filename"] if row else ""), "application/octet-stream"
    elif kind == "artifact":
        row = await result_queries.artifact(tx, owner, part)
        name, media_type = part, "application/octet-stream"
    else:
        row = await result_queries.report(tx, owner, part)
        name, media_type = f"{owner}.{part}", REPORT_TYPES[part]
    if row is None:
        raise NotFound(f"There is no such {kind}: {owner[:100]!r} {part[:100]!r}".strip(), field=kind)
    return Target(row["uri"], row["sha256"], name, media_type)


async def _as_it_was(tx: Transaction, row: Record) -> Target:
    """Find what a link leads to; ``Expired`` when it was deleted, or is something else by now."""
    try:
        found = await _found(tx, row["kind"], row["owner"], row["part"])
    except NotFound:
        raise links.Expired("What this link led to was deleted.", code="link_target_gone") from None
    if found.sha256 != row["sha256"]:
        raise links.Expired("What this link led to was replaced since. Ask for a new link.", code="link_target_changed")
    return found


def _shown(row: Record | None, link_id: str, request: Asking, settings: Settings) -> links.DownloadLink:
    if row is None:
        raise NotFound(f"There is no link {link_id[:100]!r}.", fix="GET /v1/download_links lists those there are.")
    return links.link_of(row, _key(settings), _base(request, settings), datetime.now(UTC))


def _base(request: Asking, settings: Settings) -> str:
    return settings.public_url or str(request.base_url)


def _key(settings: Settings) -> str:
    if not settings.signing_key:
        raise Conflict(
            "This installation has no WOODSHED_SIGNING_KEY, so its links could not be signed.",
            code="links_off",
            fix="Set it for gateway and notifier; docs/how-to/share-a-download.md says how.",
        )
    return settings.signing_key
