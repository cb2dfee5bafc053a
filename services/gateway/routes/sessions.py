"""Signing in and out, and who one is. Front ends use these; programs use keys."""

from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, Router, delete, get, post, put
from litestar.params import FromPath, JSONBody

from libs.db import Transaction
from libs.errors import Conflict, Forbidden, NotFound, Unauthorized
from services.gateway.auth import Caller, address_of
from services.gateway.dependencies import Db, TheCaller, TheLimiter, TheSettings, TheSigning, Tx
from services.gateway.domain import people, sessions
from services.gateway.domain.paging import Page, page_of
from services.gateway.limiting import Limiter, check
from services.gateway.permitted import PUBLIC, needs
from services.gateway.problems import documented
from services.gateway.queries import sessions as queries
from services.gateway.routes.found import the_member
from services.gateway.signing import Signing, Visitor
from services.gateway.trail import hold, note

SELF = needs("self")
T = TypeVar("T")


@post(
    "/v1/sessions",
    operation_id="signIn",
    opt=PUBLIC,
    security=[{}],
    summary="Sign in",
    responses=documented(422),
)
async def sign_in(
    data: JSONBody[people.SignIn],
    request: Request[Any, Any, Any],
    settings: TheSettings,
    limiter: TheLimiter,
    signing: TheSigning,
) -> Response[people.Me]:
    """Open a session: the answer sets its cookie. Send ``csrf_token`` as X-CSRF-Token with every change."""
    visitor = _visitor(request, limiter, data.organisation or settings.tenant, data.email)
    secret, caller = await signing.sign_in(visitor, data.password)
    return _with_cookie(request, _me(caller, settings.key_pepper), secret, settings.session_seconds)


@post(
    "/v1/invitations/accept",
    operation_id="acceptInvitation",
    opt=PUBLIC,
    security=[{}],
    summary="Set a password with an invitation",
    status_code=200,
    responses=documented(422),
)
async def accept_invitation(
    data: JSONBody[people.Acceptance],
    request: Request[Any, Any, Any],
    db: Db,
    settings: TheSettings,
    limiter: TheLimiter,
    signing: TheSigning,
) -> people.Member:
    """Set the password of the member whom an invitation is for. Sessions opened with an earlier password end."""
    visitor = _visitor(request, limiter, "", "")
    kept = await signing.stored(data.password)
    digest = sessions.digest(settings.key_pepper, "invitation", data.invitation)
    async with db.across_tenants() as tx:
        found = await queries.invited(tx, digest)
    if found is None:
        raise Unauthorized(
            "The invitation does not hold: it was used, replaced, or is older than a week.", code="bad_invitation",
            fix="Ask an owner for another one.",
        )  # fmt: skip
    async with db.transaction(found["tenant"]) as tx:
        return await _accept(tx, digest, kept, visitor)


@get("/v1/me", operation_id="retrieveMe", opt=SELF, summary="Who am I?", responses=documented())
async def retrieve_me(caller: TheCaller, settings: TheSettings) -> people.Me:
    """Say who calls, with which role, and what this key or session can do."""
    return _me(caller, settings.key_pepper)


@put(
    "/v1/me/password",
    operation_id="setPassword",
    opt=SELF,
    summary="Set one's password",
    responses=documented(409, 422),
)
async def set_password(
    data: JSONBody[people.PasswordWish], caller: TheCaller, db: Db, signing: TheSigning
) -> people.Ended:
    """Set another password; every other session of yours ends."""
    async with db.transaction(caller.tenant) as tx:
        before = await queries.password(tx, caller.member)
    await _check_may_set(signing, caller, data.current, before)
    kept = await signing.stored(data.password)
    async with db.transaction(caller.tenant) as tx:
        await hold(tx)
        await queries.set_password(tx, caller.member, kept)
        ended = await queries.end_of(tx, caller.member, caller.prefix)
        await note(tx, caller, "password.set", caller.member, ended=ended)
    return people.Ended(ended=ended)


@get("/v1/sessions", operation_id="listSessions", opt=SELF, summary="Where am I signed in?", responses=documented())
async def list_sessions(caller: TheCaller, tx: Tx) -> Page[people.Session]:
    """List the places where you are signed in."""
    found = [people.session_of(row, caller.prefix) for row in await queries.open_of(tx, caller.member)]
    return page_of(found, [each.id for each in found], len(found))


@delete(
    "/v1/sessions",
    operation_id="signOutEverywhere",
    opt=SELF,
    summary="Sign out everywhere",
    status_code=200,
    responses=documented(),
)
async def sign_out_everywhere(request: Request[Any, Any, Any], caller: TheCaller, tx: Tx) -> Response[people.Ended]:
    """End all your sessions, this one too. Keys go on to hold."""
    await hold(tx)
    ended = await queries.end_of(tx, caller.member)
    await note(tx, caller, "session.ended", caller.member, ended=ended)
    return _with_cookie(request, people.Ended(ended=ended), "", 0)


@delete(
    "/v1/sessions/{session:str}",
    operation_id="signOut",
    opt=SELF,
    summary="Sign out",
    status_code=200,
    responses=documented(404),
)
async def sign_out(
    session: FromPath[str], request: Request[Any, Any, Any], caller: TheCaller, tx: Tx
) -> Response[people.Ended]:
    """End one of your sessions; ``current`` is the one that asks."""
    wanted = caller.prefix if session == "current" else session
    await hold(tx)
    if not await queries.end(tx, wanted, caller.member):
        raise NotFound(f"There is no open session {session[:100]!r} of yours.", fix="GET /v1/sessions lists them.")
    await note(tx, caller, "session.ended", wanted)
    ended = people.Ended(ended=[wanted])
    return _with_cookie(request, ended, "", 0) if wanted == caller.prefix else Response(ended)


router = Router(
    "/",
    route_handlers=[
        sign_in,
        accept_invitation,
        retrieve_me,
        set_password,
        list_sessions,
        sign_out_everywhere,
        sign_out,
    ],
    tags=["People"],
)


def _visitor(request: Request[Any, Any, Any], limiter: Limiter, tenant: str, email: str) -> Visitor:
    """Return who knocks, unless another site sent them or too many came from their address."""
    sessions.check_same_site(request.headers)
    origin = address_of(request)
    check(limiter.count(address=origin))
    program = request.headers.get("user-agent", "")[:200]
    return Visitor(
        tenant=tenant,
        email=email.strip().lower(),
        origin=origin,
        request_id=request.scope["state"]["request_id"],
        program=program,
    )


async def _accept(tx: Transaction, digest: bytes, kept: str, visitor: Visitor) -> people.Member:
    """Use the invitation up, unless somebody else just did."""
    await hold(tx)
    found = await queries.invited(tx, digest)
    if found is None:
        raise Conflict("The invitation was used a moment ago.", code="bad_invitation")
    await queries.set_password(tx, found["member_id"], kept)
    await queries.end_of(tx, found["member_id"])
    caller = msgspec.structs.replace(visitor, tenant=tx.tenant).as_caller(found, "invitation")
    await note(tx, caller, "password.set", found["member_id"])
    return people.member_of(await the_member(tx, found["member_id"]))


async def _check_may_set(signing: Signing, caller: Caller, current: str | None, before: str | None) -> None:
    """Let those set a password who know the one before; the first one, by a key that nothing was taken from."""
    if before is None:
        if caller.scopes is not None or caller.until is not None:
            raise Forbidden(
                "A key that was narrowed or expires sets no first password: it would reach further than the key.",
                code="key_too_wide", fix="Ask an owner for an invitation.",
            )  # fmt: skip
    elif current is None or not await signing.matches(current, before):
        raise Conflict("The current password is another one.", code="wrong_password", field="current")


def _me(caller: Caller, pepper: str) -> people.Me:
    return people.Me(
        organisation=caller.tenant,
        member=caller.member,
        role=caller.role,
        permissions=sorted(caller.permissions),
        via=caller.prefix,
        csrf_token=sessions.csrf_token(pepper, caller.session) if caller.session else None,
    )


def _with_cookie(request: Request[Any, Any, Any], answer: T, secret: str, seconds: int) -> Response[T]:
    cookie = sessions.cookie(secret, request.headers.get("host", ""), seconds)
    return Response(answer, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"})
