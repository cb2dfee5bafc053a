"""API keys: list, make, rotate, revoke. A key reaches no further than whoever makes it."""

from datetime import UTC, datetime, timedelta

from asyncpg import Record
from litestar import Router, delete, get, post
from litestar.params import FromPath, JSONBody

from libs.db import Transaction
from libs.errors import Conflict, NotFound
from services.gateway.auth import Caller
from services.gateway.dependencies import TheCaller, TheSettings, Tx
from services.gateway.domain import keys, people
from services.gateway.domain.paging import Page, page_of
from services.gateway.domain.permissions import Role, checked_scopes, granted
from services.gateway.permitted import needs
from services.gateway.problems import documented
from services.gateway.queries import keys as queries
from services.gateway.routes.found import the_member
from services.gateway.settings import Settings
from services.gateway.trail import hold, note

OWN = needs("keys.own")
"""With ``keys.all`` these routes are about everybody's keys."""


@get("/", operation_id="listKeys", opt=OWN, summary="List API keys", responses=documented())
async def list_keys(caller: TheCaller, tx: Tx) -> Page[people.ApiKey]:
    """List your keys, or everybody's if you may see them; revoked and expired ones too."""
    found = [people.key_of(row) for row in await queries.listed(tx, _whose(caller))]
    return page_of(found, [each.id for each in found], len(found))


@post("/", operation_id="createKey", opt=OWN, summary="Make an API key", responses=documented(404, 422))
async def create_key(
    data: JSONBody[people.KeyWish], caller: TheCaller, tx: Tx, settings: TheSettings
) -> people.NewApiKey:
    """Make a key, for yourself or for a member whose keys you manage. The answer shows it, this once.

    It can do no more and lasts no longer than the key it is made with.
    """
    await hold(tx)
    member, role = await _holder(tx, caller, data.member)
    scopes = caller.scopes if data.scopes is None else checked_scopes(data.scopes)
    until = caller.until if data.expires_in is None else _in(data.expires_in)
    keys.check_narrower(_reach(caller), keys.Reach(granted(role, scopes), until))
    made = await _make(tx, settings, caller, data.name, member, scopes, until)
    await note(tx, caller, "key.made", made.api_key.id, name=data.name, member=member, scopes=made.api_key.scopes)
    return made


@get("/{key:str}", operation_id="retrieveKey", opt=OWN, summary="Describe an API key", responses=documented(404))
async def retrieve_key(key: FromPath[str], caller: TheCaller, tx: Tx) -> people.ApiKey:
    """Describe a key: what it can do, until when, and when it was last used (within a minute)."""
    return people.key_of(await _the_key(tx, caller, key))


@post(
    "/{key:str}/rotate",
    operation_id="rotateKey",
    opt=OWN,
    summary="Replace an API key",
    responses=documented(404, 409, 422),
)
async def rotate_key(
    key: FromPath[str],
    caller: TheCaller,
    tx: Tx,
    settings: TheSettings,
    data: JSONBody[people.RotateWish | None] = None,
) -> people.NewApiKey:
    """Make a key's successor. Both hold for ``overlap`` seconds (a day if not given), then only the new one."""
    await hold(tx)
    wish = data or people.RotateWish()
    old, now = await _the_key(tx, caller, key), datetime.now(UTC)
    _check_living(old, now)
    scopes = None if old["scopes"] is None else frozenset(old["scopes"])
    until = keys.renewed_until(old["created_at"], old["expires_at"], now, caller.until)
    until = until if wish.expires_in is None else _in(wish.expires_in)
    keys.check_narrower(_reach(caller), keys.Reach(granted(old["role"], scopes), until))
    made = await _make(tx, settings, caller, old["name"], old["member_id"], scopes, until)
    ends = keys.overlapping_until(old["expires_at"], now, wish.overlap)
    await queries.end_rotated(tx, key, ends, made.api_key.id)
    await note(tx, caller, "key.rotated", key, successor=made.api_key.id, ends=ends.isoformat())
    return made


@delete(
    "/{key:str}",
    operation_id="revokeKey",
    opt=OWN,
    summary="Revoke an API key",
    status_code=200,
    responses=documented(404),
)
async def revoke_key(key: FromPath[str], caller: TheCaller, tx: Tx) -> people.ApiKey:
    """Make a key void at once and for ever."""
    await hold(tx)
    await _the_key(tx, caller, key)
    if await queries.revoke_key(tx, key):
        await note(tx, caller, "key.revoked", key)
    return people.key_of(await _the_key(tx, caller, key))


router = Router(
    "/v1/keys", route_handlers=[list_keys, create_key, retrieve_key, rotate_key, revoke_key], tags=["People"]
)


async def _make(
    tx: Transaction,
    settings: Settings,
    caller: Caller,
    name: str,
    member: str,
    scopes: frozenset[str] | None,
    until: datetime | None,
) -> people.NewApiKey:
    key = keys.new_key()
    listed = None if scopes is None else sorted(scopes)
    digest = keys.digest(settings.key_pepper, key)
    await queries.add_key(tx, key.prefix, name, digest, member, listed, until, caller.prefix)
    return people.NewApiKey(key=str(key), api_key=people.key_of(await _the_key(tx, caller, key.prefix)))


async def _holder(tx: Transaction, caller: Caller, member: str | None) -> tuple[str, Role]:
    """Return whose key it shall be and their role; only who may see everybody's keys finds others than oneself."""
    if member is None or member == caller.member:
        return caller.member, caller.role
    if "keys.all" not in caller.permissions:
        raise NotFound(f"There is no member {member[:100]!r} whose keys you manage.", field="member")
    row = await the_member(tx, member, "member")
    return row["member_id"], row["role"]


async def _the_key(tx: Transaction, caller: Caller, prefix: str) -> Record:
    row = await queries.get(tx, prefix, _whose(caller))
    if row is None:
        raise NotFound(f"There is no key {prefix[:100]!r}.", fix="GET /v1/keys lists those there are.")
    return row


def _whose(caller: Caller) -> str | None:
    return None if "keys.all" in caller.permissions else caller.member


def _reach(caller: Caller) -> keys.Reach:
    return keys.Reach(caller.permissions, caller.until)


def _check_living(row: Record, now: datetime) -> None:
    over = row["revoked_at"] or (row["expires_at"] is not None and row["expires_at"] <= now)
    if over or row["rotated_to"]:
        what = f"was rotated to {row['rotated_to']}" if row["rotated_to"] else "does not hold any more"
        raise Conflict(f"The key {what}.", code="key_is_over", fix="Make a new key, or rotate its successor.")


def _in(lifetime: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=lifetime)
