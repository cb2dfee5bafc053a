"""What can go wrong on purpose, and what an edge should do about each kind.

WoodshedError(code, status)
├── Rejected 422    can never work as asked; never retried
│   └── BadRequest 400 · NotFound 404 · Conflict 409 · Forbidden 403 · Unauthorized 401 · OverBudget 402 ·
│       TooLarge 413 · OverQuota 429
└── Busy(after) 503 comes back later
    └── TooMany 429

Anything else is a bug: a 500 over HTTP, set aside with its traceback on the bus. A
message says what happened, what it means and what to do next.
"""


class WoodshedError(Exception):
    """Something foreseen went wrong. ``code`` is for programs, the message for people.

    ``field`` names the part of the input at fault, ``fix`` what to do about it.
    """

    status = 500
    code = "error"

    def __init__(self, message: str, *, code: str = "", field: str | None = None, fix: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.field = field
        self.fix = fix


class Rejected(WoodshedError):
    """It can never work as asked: say why, and do not try again."""

    status = 422
    code = "rejected"


class BadRequest(Rejected):
    """The request itself is at fault: a value that means nothing here, or one we cannot do."""

    status = 400
    code = "invalid_request"


class NotFound(Rejected):
    """There is no such thing, or it belongs to somebody else: the answer is the same."""

    status = 404
    code = "not_found"


class Conflict(Rejected):
    """What is asked contradicts what already stands."""

    status = 409
    code = "conflict"


class Forbidden(Rejected):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"


class Unauthorized(Rejected):
    """The caller is not known: no key, or one that does not hold."""

    status = 401
    code = "invalid_api_key"


class OverBudget(Rejected):
    """It would cost more than is allowed."""

    status = 402
    code = "over_budget"


class TooLarge(Rejected):
    """The body is larger than this installation accepts."""

    status = 413
    code = "too_large"


class TooSlow(WoodshedError):
    """The body came more slowly than it may."""

    status = 408
    code = "body_too_slow"


class OverQuota(Rejected):
    """It would be more than the organisation may have."""

    status = 429
    code = "insufficient_quota"


class Busy(WoodshedError):
    """Not now: the same call may work ``after`` seconds later."""

    status = 503
    code = "busy"

    def __init__(self, message: str, *, after: float = 1.0, code: str = "") -> None:
        super().__init__(message, code=code)
        self.after = after


class TooMany(Busy):
    """The caller asks too often: the same call may work ``after`` seconds later."""

    status = 429
    code = "rate_limit_exceeded"
