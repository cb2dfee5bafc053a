"""The one guard every route stands behind: a route says ``opt=needs("jobs.read")``, and whoever lacks it gets 403.

A route that neither declares a permission nor is public is there for nobody: the framework has some of its own.
"""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler

from services.gateway.auth import Caller
from services.gateway.domain.permissions import Permission, check

NEEDS = "needs"
PUBLIC = {"exclude_from_auth": True}


def needs(permission: Permission) -> dict[str, Any]:
    """Return what a route's ``opt`` says of the permission it needs."""
    return {NEEDS: permission}


async def permitted(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let the caller pass if its role and its key have what the route needs."""
    if isinstance(caller := connection.scope.get("user"), Caller):
        if NEEDS not in handler.opt:
            raise NotFoundException
        check(handler.opt[NEEDS], caller.role, caller.scopes)
