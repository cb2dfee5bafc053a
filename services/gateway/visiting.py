"""Whoever knocks without a key: let no other site send them, count them, and give them a session's cookie."""

from typing import Any, TypeVar

from litestar import Request, Response

from services.gateway.auth import address_of
from services.gateway.domain import sessions
from services.gateway.limiting import Limiter, check
from services.gateway.signing import Visitor

T = TypeVar("T")


def visitor(request: Request[Any, Any, Any], limiter: Limiter, tenant: str = "", email: str = "") -> Visitor:
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


def with_cookie(request: Request[Any, Any, Any], answer: Response[T], secret: str, seconds: int) -> Response[T]:
    """Give an answer the cookie of a session; 0 seconds end it."""
    cookie = sessions.cookie(secret, request.headers.get("host", ""), seconds)
    answer.headers.update({"Set-Cookie": cookie, "Cache-Control": "no-store"})
    return answer
