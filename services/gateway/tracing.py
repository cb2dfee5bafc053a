"""A span and a count for each request, named by route and never by what stands in it."""

import time

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Struct
from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Counter, Histogram

from contracts.base import new_id
from services.gateway.allowed import allowed

tracer = trace.get_tracer(__name__)

requests = Counter("woodshed_http_requests_total", "Requests answered", ["method", "route", "status"])
seconds = Histogram("woodshed_http_seconds", "Time until the answer began", ["method", "route"])


class Traced(Struct, frozen=True):
    """A request that found its route."""

    span: Span
    carrier: dict[str, str]
    began: float


def traced(app: ASGIApp) -> ASGIApp:
    """Wrap an application: ``traceparent`` comes in, and the request gets the id that the audit log names."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return await app(scope, receive, send)
        method, route = scope["method"], _route(scope)
        scope["state"]["request_id"] = new_id("req")
        with tracer.start_as_current_span(
            f"{method} {route}", context=extract(_carrier(scope)), kind=SpanKind.SERVER
        ) as span:
            span.set_attributes({"http.request.method": method, "http.route": route})
            carrier: dict[str, str] = {}
            inject(carrier)
            scope["state"]["traced"] = Traced(span, carrier, time.perf_counter())
            return await app(scope, receive, send)

    return call


async def stamped(message: Message, scope: Scope) -> None:
    """Count an answer and write what every answer carries, also one that was refused before it reached its route."""
    if message["type"] != "http.response.start":
        return
    method, route, state = str(scope.get("method", "")), _route(scope), scope["state"]
    headers = {"x-request-id": state.get("request_id") or new_id("req")} | state.get("headers", {})
    if method == "OPTIONS":
        headers["allow"] = allowed(scope["litestar_app"], scope["path"])
    requests.labels(method, route, message["status"]).inc()
    if (known := state.get("traced")) is not None:
        seconds.labels(method, route).observe(time.perf_counter() - known.began)
        headers |= known.carrier
        if known.span.is_recording():
            known.span.set_attribute("http.response.status_code", message["status"])
    written = MutableScopeHeaders.from_message(message)
    for name, value in headers.items():
        written[name] = value


def _route(scope: Scope) -> str:
    return str(scope.get("path_template", ""))


def _carrier(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
