"""Members of the organisation: add, list, give roles, remove."""

from datetime import UTC, datetime, timedelta
from typing import Any

from asyncpg import Record, UniqueViolationError
from litestar import Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from contracts.base import new_id
from contracts.people import MemberInvited
from libs.db import Transaction
from libs.errors import Conflict
from services.gateway.dependencies import TheCaller, TheDoorkeeper, TheSettings, Tx
from services.gateway.domain import members, people, sessions
from services.gateway.domain.paging import Page, page_of
from services.gateway.domain.permissions import Role
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import credentials as credential_queries
from services.gateway.queries import keys as key_queries
from services.gateway.queries import members as queries
from services.gateway.queries import sessions as session_queries
from services.gateway.routes.found import the_member
from services.gateway.trail import hold, note

INVITATION = timedelta(days=7)


@get("/", operation_id="listMembers", opt=needs("members.read"), summary="List members", responses=documented())
async def list_members(tx: Tx) -> Page[people.Member]:
    """List who belongs to the organisation, the first first."""
    found = [people.member_of(row) for row in await queries.listed(tx)]
    return page_of(found, [each.id for each in found], len(found))


@post(
    "/",
    operation_id="createMember",
    opt=needs("members.write"),
    summary="Add a member",
    responses=documented(409, 422),
)
async def create_member(data: JSONBody[people.MemberWish], caller: TheCaller, tx: Tx) -> people.Member:
    """Add somebody with a role: a person, or a program that shall have keys of its own."""
    members.check_may_give(caller.permissions, data.role)
    email = None if data.email is None else members.checked_email(data.email)
    row = await queries.add(tx, new_id("member"), data.name, email, data.role)
    if row is None:
        raise _address_taken()
    await note(tx, caller, "member.added", row["member_id"], role=data.role)
    return people.member_of(row)


@get(
    "/{member:str}",
    operation_id="retrieveMember",
    opt=needs("members.read"),
    summary="Describe a member",
    responses=documented(404),
)
async def retrieve_member(member: FromPath[str], tx: Tx) -> people.Member:
    """Describe a member and what their role can do."""
    return people.member_of(await the_member(tx, member))


@patch(
    "/{member:str}",
    operation_id="updateMember",
    opt=needs("members.write"),
    summary="Change a member",
    responses=documented(404, 409, 422),
)
async def update_member(
    member: FromPath[str], data: JSONBody[people.MemberChange], caller: TheCaller, tx: Tx
) -> people.Member:
    """Give another role, name or address. A role holds from the next call on, for all keys of the member."""
    await hold(tx)
    row = await the_member(tx, member)
    role: Role = row["role"] if data.role is UNSET else data.role
    members.check_may_give(caller.permissions, row["role"])
    members.check_may_give(caller.permissions, role)
    members.check_owner_stays(await queries.owners(tx), member, role)
    changed = await _change(tx, row, data, role)
    await note(tx, caller, "member.changed", member, **_changes(row, changed))
    return people.member_of(changed)


@delete(
    "/{member:str}",
    operation_id="deleteMember",
    opt=needs("members.write"),
    summary="Remove a member",
    status_code=200,
    responses=documented(404, 409),
)
async def delete_member(
    member: FromPath[str], caller: TheCaller, tx: Tx, doorkeeper: TheDoorkeeper
) -> people.RemovedMember:
    """Remove somebody: keys and event credentials are void, sessions end, at once. What they made stays."""
    await hold(tx)
    row = await the_member(tx, member)
    members.check_may_give(caller.permissions, row["role"])
    members.check_owner_stays(await queries.owners(tx), member, None)
    await queries.remove(tx, member)
    await session_queries.end_of(tx, member)
    ended = {"keys": await key_queries.revoke_of(tx, member)}
    if outside := await credential_queries.revoke_of(tx, member):
        ended["event_credentials"] = outside
        tx.afterwards(doorkeeper.look)
    await note(tx, caller, "member.removed", member, **ended)
    return people.RemovedMember(id=member)


@post(
    "/{member:str}/invitation",
    operation_id="inviteMember",
    opt=needs("members.write"),
    summary="Invite a member to sign in",
    responses=documented(404, 409),
)
async def invite_member(
    member: FromPath[str],
    caller: TheCaller,
    tx: Tx,
    settings: TheSettings,
    data: JSONBody[people.InvitationWish | None] = None,
) -> people.Invitation:
    """Make an invitation for the first password or a forgotten one: to pass on, or mailed. It holds for a week."""
    await hold(tx)
    row = await the_member(tx, member)
    members.check_may_give(caller.permissions, row["role"])
    if row["email"] is None:
        raise Conflict("Who signs in needs an e-mail address.", code="no_address", fix="PATCH the member's email.")
    seed, until = sessions.new_secret(), datetime.now(UTC) + INVITATION
    secret = sessions.invitation(settings.key_pepper, member, seed)
    digest, send = sessions.digest(settings.key_pepper, "invitation", secret), bool(data and data.send)
    if send:
        told = await tx.tell(MemberInvited(tenant=tx.tenant, at=datetime.now(UTC), member_id=member))
        await queries.invite(tx, member, digest, until, seed, told.version)
    else:
        await queries.invite(tx, member, digest, until)
    await note(tx, caller, "member.invited", member, mailed=send)
    shown = None if send else secret
    return people.Invitation(invitation=shown, member=member, expires_at=int(until.timestamp()))


router = Router(
    "/v1/members",
    route_handlers=[list_members, create_member, retrieve_member, update_member, delete_member, invite_member],
    tags=["People"],
)


async def _change(tx: Transaction, row: Record, data: people.MemberChange, role: Role) -> Record:
    name = row["name"] if data.name is UNSET else data.name
    email = row["email"] if data.email is UNSET else members.checked_email(data.email)
    try:
        return await queries.change(tx, row["member_id"], name, email, role)
    except UniqueViolationError:
        raise _address_taken() from None


def _changes(before: Record, after: Record) -> dict[str, Any]:
    """Say what changed; of names and addresses only that they did, since the log is never changed."""
    said: dict[str, Any] = {name: "changed" for name in ("name", "email") if before[name] != after[name]}
    if before["role"] != after["role"]:
        said["role"] = [before["role"], after["role"]]
    return said


def _address_taken() -> Conflict:
    return Conflict(
        "Somebody with this address is a member already.", code="address_taken", field="email",
        fix="GET /v1/members lists who there is.",
    )  # fmt: skip
