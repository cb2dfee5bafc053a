"""What went wrong, as HTTP says it: RFC 9457 problem details that also carry OpenAI's ``error`` object.

One place translates. Clients written for OpenAI read ``error``, all others the problem.
"""

import math
import re
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct
from opentelemetry import trace

from libs.errors import Busy, TooLarge, WoodshedError
from services.gateway.allowed import allowed
from services.gateway.domain.wishes import NOT_OFFERED

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

OPENAIS_WIRE = ("/v1/files", "/v1/uploads", "/v1/fine_tuning", "/v1/models", "/v1/chat")

EXPLAINED = {
    400: "The request does not have the shape this call needs.",
    401: "No API key, or one that does not hold.",
    402: "It would cost more than the organisation may spend this month; the message says what to do.",
    403: "The caller's role or key lacks the permission this call needs.",
    404: "There is no such thing, or it belongs to somebody else.",
    408: "The body came too slowly.",
    409: "It contradicts what already stands.",
    410: "It was there and is no more; the message says why.",
    413: "The body is larger than this installation accepts.",
    416: "The range begins behind the end.",
    422: "It can never work as asked; the message says why.",
    429: "Too many calls or too much at once; Retry-After says when to come back, if time alone helps.",
    503: "Not now: the same call may work after the seconds in Retry-After.",
    507: "The disk of this installation is full.",
}


_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]+)`")


class OpenAIError(Struct, kw_only=True):
    """The same once more in OpenAI's shape."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(Struct, kw_only=True, omit_defaults=True):
    """What happened, what it means and what to do next (RFC 9457)."""

    title: str
    status: int
    detail: str
    code: str
    error: OpenAIError
    type: str = "about:blank"
    field: str | None = None
    fix: str | None = None
    trace_id: str | None = None


def documented(*statuses: int) -> dict[int, ResponseSpec]:
    """Describe the problems a route can answer with, for OpenAPI; every route can say 400, 401, 403 and 429."""
    return {
        status: ResponseSpec(
            data_container=Problem, description=EXPLAINED[status], media_type=MEDIA_TYPE, generate_examples=False
        )
        for status in sorted({400, 401, 403, 429, *statuses})
    }


def answer(
    status: int, detail: str, code: str, *, field: str | None = None, fix: str | None = None, after: float | None = None
) -> Response[bytes]:
    """Make the response. openai-python would repeat a refused call by itself: it is told not to."""
    message = f"{detail} {fix}" if fix else detail
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        error=OpenAIError(message=message, type=_openai_type(status), param=field, code=code),
        field=field,
        fix=fix,
        trace_id=_trace_id(),
    )
    headers = {"x-should-retry": "false"} if status in (409, 507) or (status == 429 and after is None) else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="woodshed"'
    if after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(after)))
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def from_error(request: Request[Any, Any, Any], error: WoodshedError) -> Response[bytes]:
    """Translate what was foreseen."""
    after = error.after if isinstance(error, Busy) else None
    status = status_for(request.url.path, error.status)
    return answer(status, error.message, error.code, field=error.field, fix=error.fix, after=after)


def status_for(path: str, status: int) -> int:
    """Return the status a client of this path expects: on OpenAI's wire what cannot work is 400, never 422."""
    return 400 if status == 422 and path.startswith(OPENAIS_WIRE) else status


def from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Translate what the web framework refuses: a body that does not fit, an unknown path, a wrong method."""
    if isinstance(error, ValidationException):
        field, detail = _first_misfit(error)
        return answer(400, detail, "invalid_request", field=field)
    if error.status_code == 413:
        limit = request.route_handler.resolve_request_max_body_size()
        return from_error(request, TooLarge(f"The body is larger than the {limit:,} bytes this call accepts."))
    if error.status_code == 404:
        return answer(404, f"There is no {request.url.path} here.", "not_found", fix="See /docs for what there is.")
    if error.status_code == 405:
        refused = answer(405, f"{request.method} is not possible on {request.url.path}.", "method_not_allowed")
        refused.headers["Allow"] = allowed(request.app, request.url.path)
        return refused
    if error.status_code < 500:
        return answer(error.status_code, error.detail or str(error), "invalid_request")
    return from_bug(request, error)


def from_nesting(_: Request[Any, Any, Any], __: RecursionError) -> Response[bytes]:
    """Translate a body nested so deeply that no reader follows."""
    return answer(400, "The body is nested too deeply to be read.", "invalid_request")


def from_nul(_: Request[Any, Any, Any], __: Exception) -> Response[bytes]:
    """Translate a NUL character somewhere in the request: no text of the database can hold one."""
    return answer(400, "A text of the request holds a NUL character. Leave it out.", "nul_character")


def from_bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Translate everything else: it is our mistake, and its traceback is in the log."""
    log.error("request failed", method=request.method, path=request.scope.get("path_template"), exc_info=error)
    return answer(
        500, "Something went wrong in Woodshed; it is in the log of the gateway.", "internal_error",
        fix="Try again; if it stays, report the trace id.",
    )  # fmt: skip


def _first_misfit(error: ValidationException) -> tuple[str | None, str]:
    """Name the field, and keep msgspec's own sentence about it."""
    extra = error.extra if isinstance(error.extra, list) else []
    first: dict[str, Any] = extra[0] if extra and isinstance(extra[0], dict) else {}
    message = str(first.get("message") or error.detail)
    if unknown := _UNKNOWN_FIELD.search(message):
        name = unknown[1]
        return name, NOT_OFFERED.get(name, f"{message}. Is it misspelt? /docs shows what there is.")
    key = first.get("key")
    return key, f"{message} (in {key})." if key else message


def _openai_type(status: int) -> str:
    if status >= 500:
        return "server_error"
    return {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error"
    )


def _trace_id() -> str | None:
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None
