"""Using an invitation: over the API, and on the page that the letter leads to."""

from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import MediaType, Request, Response, Router, get, post
from litestar.params import JSONBody

from libs.errors import BadRequest, Busy, WoodshedError
from services.gateway import page
from services.gateway.dependencies import TheLimiter, TheSettings, TheSigning
from services.gateway.domain import people, sessions
from services.gateway.limiting import Limiter
from services.gateway.page import LONGEST_NAME
from services.gateway.permitted import PUBLIC
from services.gateway.problems import documented
from services.gateway.settings import Settings
from services.gateway.signing import Signing
from services.gateway.visiting import visitor, with_cookie


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
    data: JSONBody[people.Acceptance], request: Request[Any, Any, Any], limiter: TheLimiter, signing: TheSigning
) -> people.Member:
    """Set the password of the member whom an invitation is for. Sessions opened with an earlier password end."""
    _, member = await signing.accept(visitor(request, limiter), data)
    return people.member_of(member)


@get("/invitation", opt=PUBLIC, include_in_schema=False, media_type=MediaType.HTML)
async def show_invitation() -> Response[str]:
    """Send the page on which an invitation is used. It knows nothing of whom it is for."""
    return Response(page.form(), headers=page.HEADERS)


@post("/invitation", opt=PUBLIC, include_in_schema=False, media_type=MediaType.HTML, status_code=200)
async def use_invitation(
    request: Request[Any, Any, Any], limiter: TheLimiter, signing: TheSigning, settings: TheSettings
) -> Response[str]:
    """Set the password and sign in, or send the page again with what was wrong."""
    said = {name: str(value) for name, value in (await request.form()).items() if isinstance(value, str)}
    try:
        return await _used(said, request, limiter, signing, settings)
    except WoodshedError as error:
        again = page.form(error, said.get("invitation", ""), said.get("name", ""))
        after = {"Retry-After": str(round(error.after) or 1)} if isinstance(error, Busy) else {}
        return Response(again, status_code=error.status, headers=page.HEADERS | after)


router = Router("/", route_handlers=[accept_invitation, show_invitation, use_invitation], tags=["People"])


async def _used(
    said: dict[str, str], request: Request[Any, Any, Any], limiter: Limiter, signing: Signing, settings: Settings
) -> Response[str]:
    sessions.check_own_form(request.headers)
    knocking = visitor(request, limiter)
    password = said.get("password", "")
    if password != said.get("again"):
        raise BadRequest("The two passwords are not the same.", fix="Write them once more.")
    name = " ".join(said.get("name", "").split())
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise BadRequest(f"A name has at most {LONGEST_NAME} characters, all of them visible.")
    wish = people.Acceptance(invitation=said.get("invitation", "").strip(), password=password, name=name or None)
    known, member = await signing.accept(knocking, wish)
    secret, _ = await signing.enter(known, member)
    until = datetime.now(UTC) + timedelta(seconds=settings.session_seconds)
    html = page.welcome(
        name=member["name"], email=known.email, organisation=known.tenant, role=member["role"], until=until
    )
    return with_cookie(request, Response(html, headers=page.HEADERS), secret, settings.session_seconds)
