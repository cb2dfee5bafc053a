"""The objects of members, keys and the audit log that clients see, and what may be asked about them."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from contracts.base import TenantId
from services.gateway.domain import members
from services.gateway.domain.passwords import SHORTEST
from services.gateway.domain.permissions import WHO_MAY, Role, granted
from services.gateway.domain.shapes import seconds
from services.gateway.domain.statuses import Row
from services.gateway.domain.wishes import Wish

Password = Annotated[str, Meta(min_length=1, max_length=200, examples=["a sentence of a few words"])]
NewPassword = Annotated[Password, Meta(extra_json_schema={"minLength": SHORTEST})]
YEAR = 366 * 86_400.0

Name = Annotated[str, Meta(min_length=1, max_length=100, examples=["nightly import"])]
Email = Annotated[
    str,
    Meta(
        max_length=254, examples=["elena@studio.example"], extra_json_schema={"pattern": rf"^\s*{members.ADDRESS}\s*$"}
    ),
]
Scope = Annotated[str, Meta(extra_json_schema={"enum": list(WHO_MAY)})]
Lifetime = Annotated[float, Meta(ge=1, le=5 * YEAR, description="Seconds until it expires.")]
Overlap = Annotated[float, Meta(ge=0, le=YEAR / 12, description="Seconds the old key goes on to hold.")]


class KeyWish(Wish, frozen=True, kw_only=True):
    """A new key. Without ``scopes`` and ``expires_in`` it reaches as far as whoever makes it."""

    name: Name
    scopes: Annotated[list[Scope], Meta(max_length=50, examples=[["jobs.read", "files.read"]])] | None = None
    expires_in: Lifetime | None = None
    member: str | None = None


class RotateWish(Wish, frozen=True, kw_only=True):
    """A key's successor: the same name, member and scopes."""

    overlap: Overlap = 86_400.0
    expires_in: Lifetime | None = None


class MemberWish(Wish, frozen=True, kw_only=True):
    """A new member."""

    name: Name
    email: Email | None = None
    role: Role


class MemberChange(Wish, frozen=True, kw_only=True):
    """What is to be different about a member; what is left out stays."""

    name: Name | UnsetType = UNSET
    email: Email | UnsetType = UNSET
    role: Role | UnsetType = UNSET


class SignIn(Wish, frozen=True, kw_only=True):
    """An address and its password; ``organisation`` is the installation's own if not given."""

    email: Email
    password: Password
    organisation: TenantId | None = None


class PasswordWish(Wish, frozen=True, kw_only=True):
    """Another password. ``current`` may be left out as long as none is set."""

    password: NewPassword
    current: Password | None = None


class Acceptance(Wish, frozen=True, kw_only=True):
    """An invitation, the password that shall be the member's, and what they want to be called, if otherwise."""

    invitation: Annotated[str, Meta(min_length=20, max_length=100)]
    password: NewPassword
    name: Name | None = None


class InvitationWish(Wish, frozen=True, kw_only=True):
    """How an invitation reaches the member: with ``send`` by mail, else by whoever asked for it."""

    send: bool = False


class ApiKey(Struct, kw_only=True):
    """A key without its secret. ``scopes`` null: all of the member's role; ``permissions``: what it can do now."""

    id: str
    name: str
    shown: str
    member: str
    role: Role
    scopes: list[str] | None
    permissions: list[str]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    made_by: str | None
    rotated_to: str | None
    object: Literal["api_key"] = "api_key"


class NewApiKey(Struct, kw_only=True):
    """A key that was just made; ``key`` is shown this once."""

    key: str
    api_key: ApiKey
    object: Literal["new_api_key"] = "new_api_key"


class Member(Struct, kw_only=True):
    """Somebody who belongs to the organisation. ``signs_in``: a password is set.

    ``invitation_mail`` says what became of the last invitation that was mailed: waiting, delivered, or why not.
    """

    id: str
    name: str
    email: str | None
    role: Role
    permissions: list[str]
    created_at: int
    signs_in: bool
    invitation_mail: str | None
    object: Literal["member"] = "member"


class RemovedMember(Struct, kw_only=True):
    """Somebody who does not belong to the organisation any more."""

    id: str
    object: Literal["member"] = "member"
    deleted: bool = True


class Me(Struct, kw_only=True):
    """Who calls. ``csrf_token``: a signed-in browser sends it as X-CSRF-Token with every change."""

    organisation: str
    member: str
    role: Role
    permissions: list[str]
    via: str
    csrf_token: str | None
    object: Literal["me"] = "me"


class Session(Struct, kw_only=True):
    """A place where somebody is signed in. ``current``: the one that asks."""

    id: str
    origin: str
    program: str
    created_at: int
    expires_at: int
    current: bool
    object: Literal["session"] = "session"


class Ended(Struct, kw_only=True):
    """Sessions that are over."""

    ended: list[str]
    object: Literal["sessions.ended"] = "sessions.ended"


class Invitation(Struct, kw_only=True):
    """Whoever has ``invitation`` sets the member's password with it, once. It is shown this once; null: mailed."""

    invitation: str | None
    member: str
    expires_at: int
    object: Literal["invitation"] = "invitation"


class AuditEntry(Struct, kw_only=True):
    """Who (``actor``, by the key or session ``via``) did what about which thing, when and from where.

    ``hash`` covers ``previous`` (the hash of the entry before) and everything else here.
    """

    number: int
    at: str
    actor: str
    via: str
    action: str
    about: str
    details: dict[str, Any]
    origin: str
    request_id: str
    previous: str
    hash: str
    object: Literal["audit.entry"] = "audit.entry"


class Verification(Struct, kw_only=True):
    """Whether the log is whole: each entry follows the one before, and none is missing at the end."""

    holds: bool
    entries: int
    head: str
    broken_at: int | None
    why: str | None
    object: Literal["audit.verification"] = "audit.verification"


def key_of(row: Row) -> ApiKey:
    """Show a key."""
    return ApiKey(
        id=row["prefix"],
        name=row["name"],
        shown=f"wsk-{row['prefix']}-…",
        member=row["member_id"],
        role=row["role"],
        scopes=row["scopes"],
        permissions=sorted(granted(row["role"], row["scopes"])),
        created_at=seconds(row["created_at"]),
        expires_at=_maybe(row["expires_at"]),
        last_used_at=_maybe(row["last_used_at"]),
        revoked_at=_maybe(row["revoked_at"]),
        made_by=row["made_by"],
        rotated_to=row["rotated_to"],
    )


def member_of(row: Row) -> Member:
    """Show a member."""
    return Member(
        id=row["member_id"],
        name=row["name"],
        email=row["email"],
        role=row["role"],
        permissions=sorted(granted(row["role"], None)),
        created_at=seconds(row["created_at"]),
        signs_in=row["signs_in"],
        invitation_mail=row["invite_mail"],
    )


def session_of(row: Row, current: str) -> Session:
    """Show a session."""
    return Session(
        id=row["session_id"],
        origin=row["origin"],
        program=row["program"],
        created_at=seconds(row["created_at"]),
        expires_at=seconds(row["expires_at"]),
        current=row["session_id"] == current,
    )


def entry_of(row: Row) -> AuditEntry:
    """Show an entry of the audit log."""
    return AuditEntry(
        number=row["number"],
        at=row["at"].isoformat(),
        actor=row["actor"],
        via=row["via"],
        action=row["action"],
        about=row["about"],
        details=msgspec.json.decode(row["details"]),
        origin=row["origin"],
        request_id=row["request_id"],
        previous=row["previous"].hex(),
        hash=row["hash"].hex(),
    )


def _maybe(moment: Any) -> int | None:
    return None if moment is None else seconds(moment)
