"""Who is calling: an API key, looked up by its public part and compared in constant time, or a signed-in person.

Key or session decide the tenant, so they are looked up before any tenant is known; everything after
runs in transactions that see only that tenant's rows.
"""

from datetime import UTC, datetime
from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp
from msgspec import Struct

from libs.db import Database
from libs.errors import Unauthorized
from services.gateway.domain import keys, sessions
from services.gateway.domain.permissions import Permission, Role, granted
from services.gateway.queries import keys as queries
from services.gateway.queries import sessions as session_queries
from services.gateway.usage import LastUse

DESCRIPTION = r"^/openapi\.json$"


class Caller(Struct, frozen=True, kw_only=True):
    """Whoever holds the key or is signed in: a member with a role.

    ``prefix`` is the key's public part, or the session's id; ``scopes`` are what a key was narrowed to, if it was;
    ``until`` is when the key ends; ``session`` is the secret of a session.
    ``origin`` and ``request_id`` say where this call comes from.
    """

    tenant: str
    member: str
    role: Role
    prefix: str
    scopes: frozenset[str] | None = None
    until: datetime | None = None
    session: str | None = None
    origin: str = ""
    request_id: str = ""

    @property
    def permissions(self) -> frozenset[Permission]:
        """Everything this caller may do."""
        return granted(self.role, self.scopes)


class KeyAuth(AbstractAuthenticationMiddleware):
    """Lets nobody in without a key that holds; the API's description and ``exclude_from_auth`` routes need none."""

    def __init__(self, app: ASGIApp, db: Database, pepper: str, last_use: LastUse) -> None:
        super().__init__(app, exclude=DESCRIPTION)
        self._db = db
        self._pepper = pepper
        self._last_use = last_use

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """Find out who calls; ``Unauthorized`` says what is wrong with the key or the session."""
        presented = _presented(connection)
        if presented is None:
            caller = await self._signed_in(connection, connection.cookies[sessions.COOKIE])
        else:
            caller = await self._holder(connection, keys.parse(presented))
        return AuthenticationResult(user=caller, auth=None)

    async def _signed_in(self, connection: ASGIConnection[Any, Any, Any, Any], secret: str) -> Caller:
        row = await session_queries.session(self._db, sessions.digest(self._pepper, "session", secret))
        if row is None:
            raise Unauthorized("You are not signed in any more.", code="session_over", fix="Sign in again.")
        sessions.check_intended(str(connection.scope.get("method")), connection.headers, self._pepper, secret)
        return Caller(
            tenant=row["tenant"],
            member=row["member_id"],
            role=row["role"],
            prefix=row["session_id"],
            session=secret,
            origin=address_of(connection),
            request_id=connection.scope["state"].get("request_id", ""),
        )

    async def _holder(self, connection: ASGIConnection[Any, Any, Any, Any], key: keys.Key) -> Caller:
        row = await queries.key(self._db, key.prefix)
        if row is None or not keys.matches(self._pepper, key, row["digest"]):
            raise Unauthorized(
                f"The API key wsk-{key.prefix}-… does not hold: it belongs to another installation, or is none.",
                fix="Make a new key, or check which one this program uses.",
            )
        now = datetime.now(UTC)
        keys.check_holds(key.prefix, row["expires_at"], row["revoked_at"], now)
        self._last_use.saw(key.prefix, now)
        return Caller(
            tenant=row["tenant"],
            member=row["member_id"],
            role=row["role"],
            prefix=key.prefix,
            scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
            until=row["expires_at"],
            origin=address_of(connection),
            request_id=connection.scope["state"].get("request_id", ""),
        )


def address_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return the network address a call comes from; behind a proxy it is the proxy's."""
    return connection.client.host if connection.client else ""


def _presented(connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """Return the key that was sent; ``None``: a session's cookie was, and no key."""
    header = connection.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if key := connection.headers.get("x-api-key", ""):
        return key.strip()
    if sessions.COOKIE in connection.cookies:
        return None
    raise Unauthorized(
        "This call carries no API key.", code="missing_api_key", fix="Send `Authorization: Bearer wsk-…`."
    )
