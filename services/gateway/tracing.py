"""A span and a count for each request, named by route and never by what stands in it."""

import time
from typing import Any

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram

from contracts.base import new_id

tracer = trace.get_tracer(__name__)

requests = Counter("woodshed_http_requests_total", "Requests answered", ["method", "route", "status"])
seconds = Histogram("woodshed_http_seconds", "Time until the answer began", ["method", "route"])


def traced(app: ASGIApp) -> ASGIApp:
    """Wrap an application: ``traceparent`` comes in, the answer carries ours and the id that the audit log names."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return await app(scope, receive, send)
        method, route = scope["method"], str(scope.get("path_template", ""))
        began = time.perf_counter()
        request_id = scope["state"]["request_id"] = new_id("req")

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds.labels(method, route).observe(time.perf_counter() - began)
                requests.labels(method, route, message["status"]).inc()
                span.set_attribute("http.response.status_code", message["status"])
                _write_headers(message, {"x-request-id": request_id} | scope["state"].get("headers", {}))
            await send(message)

        with tracer.start_as_current_span(
            f"{method} {route}", context=extract(_carrier(scope)), kind=SpanKind.SERVER
        ) as span:
            span.set_attributes({"http.request.method": method, "http.route": route})
            return await app(scope, receive, send_counted)

    return call


def _carrier(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _write_headers(message: Any, carrier: dict[str, str]) -> None:
    inject(carrier)
    headers = MutableScopeHeaders.from_message(message)
    for name, value in carrier.items():
        headers[name] = value
