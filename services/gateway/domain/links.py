"""Which link is genuine: one whose seal fits the organisation, the object, its sha256 and its end.

The seal is HMAC-SHA256 with a key of the installation. It is compared before anything else is
looked at, so that a forged link learns nothing, not even whether there is one of its name.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from msgspec import Meta, Struct

from libs.errors import NotFound, Rejected, WoodshedError
from libs.signing import derived
from services.gateway.domain.wishes import FileId, Wish

DAY, WEEK = 86_400, 7 * 86_400

ReportFormat = Literal["pdf", "html", "json"]


class Expired(WoodshedError):
    """The link was genuine and holds no more."""

    status = 410
    code = "link_expired"


LEADS_TO = (("file",), ("job", "artifact"), ("job", "report"))
"""The keys that together say what a link leads to."""


SOMETHING = Meta(extra_json_schema={"minLength": 1})


class LinkWish(Wish, frozen=True, kw_only=True):
    """The body of ``POST /v1/download_links``: a ``file``, or of a ``job`` either an ``artifact`` or a ``report``.

    ``expires_in`` is in seconds, a minute to a week.
    """

    file: Annotated[FileId, SOMETHING] | None = None
    job: Annotated[str, SOMETHING] | None = None
    artifact: Annotated[str, SOMETHING] | None = None
    report: ReportFormat | None = None
    expires_in: Annotated[int, Meta(ge=60, le=WEEK)] = DAY


class Bound(Struct, frozen=True, kw_only=True):
    """What a link leads to: an organisation's ``kind`` of object, whose it is, which of several, and its content."""

    tenant: str
    kind: str
    owner: str
    part: str
    sha256: str


class DownloadLink(Struct, kw_only=True):
    """A link. Whoever has its ``url`` can download, until it expires or is revoked.

    ``downloads`` counts those that were begun; a resumed one is the same.
    """

    id: str
    url: str
    created_at: int
    expires_at: int
    status: str
    file: str | None
    job: str | None
    artifact: str | None
    report: str | None
    sha256: str
    made_by: str
    downloads: int
    last_used_at: int | None
    object: Literal["download_link"] = "download_link"


def target(wish: LinkWish) -> tuple[str, str, str]:
    """Return kind, owner and part of what is wished; ``Rejected`` when it is nothing or two things."""
    if wish.file and not (wish.job or wish.artifact or wish.report):
        return "file", wish.file, ""
    if wish.job and not wish.file and bool(wish.artifact) != bool(wish.report):
        return ("artifact", wish.job, wish.artifact) if wish.artifact else ("report", wish.job, str(wish.report))
    raise Rejected(
        "A link leads to one thing. Send file, or job with either artifact or report.", code="bad_link", field="file"
    )


def seal(key: str, link_id: str, bound: Bound, expires: int) -> str:
    """Return the part of a link that nobody can make up."""
    words = [link_id, bound.tenant, bound.kind, bound.owner, bound.part, bound.sha256, str(expires)]
    sealed = "".join(f"{len(word.encode())}:{word}" for word in words)
    digest = hmac.digest(derived(key, "link"), sealed.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def bound_of(row: Any) -> Bound:
    """Return what a stored link leads to."""
    return Bound(tenant=row["tenant"], kind=row["kind"], owner=row["owner"], part=row["part"], sha256=row["sha256"])


def check(row: Any | None, key: str, expires: int, signature: str, at: datetime) -> None:
    """Let a genuine link pass: ``NotFound`` for a forged one, ``Expired`` for one that no longer holds."""
    if row is None or not hmac.compare_digest(
        seal(key, row["link_id"], bound_of(row), expires).encode(), signature.encode()
    ):
        raise NotFound("There is no such link. Check that it was copied whole.")
    if at >= row["expires_at"] or at.timestamp() >= expires:
        raise Expired("The link has expired. Ask whoever gave it to you for a new one.")
    if row["revoked_at"]:
        raise Expired("The link was revoked. Ask whoever gave it to you for a new one.", code="link_revoked")


def link_of(row: Any, key: str, base_url: str, at: datetime) -> DownloadLink:
    """Show a link."""
    expires = int(row["expires_at"].timestamp())
    words = {"expires": expires, "signature": seal(key, row["link_id"], bound_of(row), expires)}
    parts = {"artifact": None, "report": None} | ({row["kind"]: row["part"]} if row["kind"] != "file" else {})
    return DownloadLink(
        id=row["link_id"],
        url=f"{base_url.rstrip('/')}/v1/downloads/{row['link_id']}?{urlencode(words)}",
        created_at=int(row["created_at"].timestamp()),
        expires_at=expires,
        status=_status(row, at),
        file=row["owner"] if row["kind"] == "file" else None,
        job=row["owner"] if row["kind"] != "file" else None,
        artifact=parts["artifact"],
        report=parts["report"],
        sha256=row["sha256"],
        made_by=row["made_by"],
        downloads=row["downloads"],
        last_used_at=int(row["used_at"].timestamp()) if row["used_at"] else None,
    )


def whole_seconds(at: datetime) -> datetime:
    """Return a time as a link can say it."""
    return datetime.fromtimestamp(int(at.timestamp()), UTC)


def begins(range_header: str) -> bool:
    """Say whether a request begins a download, rather than resuming one."""
    return not range_header or range_header.replace(" ", "").startswith("bytes=0-")


def _status(row: Any, at: datetime) -> str:
    if row["revoked_at"]:
        return "revoked"
    return "expired" if at >= row["expires_at"] else "active"
