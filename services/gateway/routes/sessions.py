"""Signing in and out, and who one is. Front ends use these; programs use keys."""

from typing import Any

from litestar import Request, Response, Router, delete, get, post, put
from litestar.params import FromPath, JSONBody

from libs.errors import Conflict, Forbidden, NotFound
from services.gateway.auth import Caller
from services.gateway.dependencies import Db, TheCaller, TheLimiter, TheSettings, TheSigning, Tx
from services.gateway.domain import people, sessions
from services.gateway.domain.paging import Page, page_of
from services.gateway.permitted import PUBLIC, needs
from services.gateway.problems import documented
from services.gateway.queries import sessions as queries
from services.gateway.signing import Signing
from services.gateway.trail import hold, note
from services.gateway.visiting import visitor, with_cookie

SELF = needs("self")


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
    knocking = visitor(request, limiter, data.organisation or settings.tenant, data.email)
    secret, caller = await signing.sign_in(knocking, data.password)
    return with_cookie(request, Response(_me(caller, settings.key_pepper)), secret, settings.session_seconds)


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
    return with_cookie(request, Response(people.Ended(ended=ended)), "", 0)


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
    answer = Response(people.Ended(ended=[wanted]))
    return with_cookie(request, answer, "", 0) if wanted == caller.prefix else answer


router = Router(
    "/",
    route_handlers=[
        sign_in,
        retrieve_me,
        set_password,
        list_sessions,
        sign_out_everywhere,
        sign_out,
    ],
    tags=["People"],
)


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
