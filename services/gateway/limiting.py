"""Counts calls by key, by organisation and by address, in the memory of this process.

A gateway is one process, so that is exact; several behind a balancer would each allow this much.
"""

import time
from collections.abc import Callable
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from libs.errors import TooMany
from services.gateway.auth import Caller
from services.gateway.domain.rates import Bucket, Standing, refilled, take, tightest

MOST_BUCKETS = 10_000
MINUTE = 60.0


class Limiter:
    """Keeps a bucket for everybody who called within the last minute; an older one would be full."""

    def __init__(self, key: int, tenant: int, address: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = {"key": key, "tenant": tenant, "address": address}
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def count(self, **who: str) -> Standing:
        """Count a call of a ``key``, a ``tenant`` or an ``address``; refused, it costs nobody a token."""
        now = self._clock()
        self._drop_full(now)
        taken = {}
        for kind, name in who.items():
            limit = self._per_minute[kind]
            taken[kind, name] = take(refilled(self._buckets.get((kind, name)), limit, now), limit)
        standing = tightest([each for _, each in taken.values()])
        if standing.allowed:
            self._buckets |= {name: bucket for name, (bucket, _) in taken.items()}
        return standing

    async def limited(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Let a call pass if its key and organisation may make one more now: a guard for every route."""
        if isinstance(caller := connection.scope.get("user"), Caller):
            standing = self.count(key=caller.prefix, tenant=caller.tenant)
            connection.scope["state"]["headers"] = headers_of(standing)
            check(standing)

    def _drop_full(self, now: float) -> None:
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets = {name: each for name, each in self._buckets.items() if now - each.at < MINUTE}


def check(standing: Standing) -> None:
    """Return if the call may be made; ``TooMany`` says how soon it may."""
    if not standing.allowed:
        raise TooMany(
            f"More than {standing.limit:,} calls a minute. Wait, or spread them more evenly.", after=standing.wait
        )


def headers_of(standing: Standing) -> dict[str, str]:
    """Return the headers that clients of OpenAI's wire read."""
    return {
        "x-ratelimit-limit-requests": str(standing.limit),
        "x-ratelimit-remaining-requests": str(standing.remaining),
        "x-ratelimit-reset-requests": f"{standing.reset:.3f}s",
    }
