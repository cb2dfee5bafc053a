"""Who is calling: an API key, looked up by its public part and compared in constant time.

The key decides the tenant, so it is looked up before any tenant is known; everything after
runs in transactions that see only that tenant's rows.
"""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp
from msgspec import Struct

from libs.db import Database
from libs.errors import Unauthorized
from services.gateway.domain import keys
from services.gateway.queries import keys as queries

DESCRIPTION = r"^/openapi\.json$"


class Caller(Struct, frozen=True):
    """Whoever holds the key. ``prefix`` is the key's public part."""

    tenant: str
    role: str
    prefix: str


class KeyAuth(AbstractAuthenticationMiddleware):
    """Lets nobody in without a key that holds; the API's description and ``exclude_from_auth`` routes need none."""

    def __init__(self, app: ASGIApp, db: Database, pepper: str) -> None:
        super().__init__(app, exclude=DESCRIPTION)
        self._db = db
        self._pepper = pepper

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        """Find out who calls; ``Unauthorized`` says what is wrong with the key."""
        key = keys.parse(_presented(connection))
        if key is None:
            raise Unauthorized(
                "That is not an API key: one looks like wsk-XXXXXXXX-… and is printed once when it is made.",
                fix="Send it as `Authorization: Bearer wsk-…`.",
            )
        caller = await self._holder(key)
        return AuthenticationResult(user=caller, auth=None)

    async def _holder(self, key: keys.Key) -> Caller:
        async with self._db.across_tenants() as tx:
            row = await queries.key(tx, key.prefix)
        if row is None or not keys.matches(self._pepper, key, row["digest"]):
            raise Unauthorized(
                f"The API key wsk-{key.prefix}-… does not hold: it was revoked, or belongs to another installation.",
                fix="Make a new key, or check which one this program uses.",
            )
        return Caller(row["tenant"], row["role"], key.prefix)


def _presented(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    header = connection.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if key := connection.headers.get("x-api-key", ""):
        return key.strip()
    raise Unauthorized(
        "This call carries no API key.", code="missing_api_key", fix="Send `Authorization: Bearer wsk-…`."
    )
