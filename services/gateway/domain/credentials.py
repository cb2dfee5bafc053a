"""Event credentials: with one, a program outside hears its organisation's facts on NATS, and nothing else.

The id is the NATS user, the secret its password. Stored is an HMAC of the secret, as for sessions.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Raw, Struct

from contracts.base import Count, Refusal
from contracts.outsiders import inbox_of, missed_by
from libs.errors import WoodshedError
from services.gateway.domain.people import Lifetime, Name
from services.gateway.domain.wishes import Wish

PREFIX = "events"
PURPOSE = "events"
"""What the digest of a secret is for, so that it serves as nothing else."""
MOST_FACTS = 500
MOST_BYTES = 500_000
"""How much one answer holds; a single fact may be larger than that."""

_SHAPE = re.compile(rf"{PREFIX}-[0-9a-z]{{24}}")


class CredentialWish(Wish, frozen=True, kw_only=True):
    """New credentials. Without ``expires_in`` they hold as long as the key they are made with."""

    name: Name
    expires_in: Lifetime | None = None


class EventCredential(Struct, kw_only=True):
    """Credentials without their secret. ``connected_at`` is when somebody last came in with them."""

    id: str
    name: str
    member: str
    made_by: str
    created_at: int
    expires_at: int | None
    connected_at: int | None
    revoked_at: int | None
    object: Literal["event_credential"] = "event_credential"


class NewEventCredential(Struct, kw_only=True):
    """New credentials and all that a program needs; ``password`` is shown this once."""

    servers: str
    user: str
    password: str
    inbox_prefix: str
    subject: str
    missed: str
    credential: EventCredential


class Ask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The question for what was missed: every fact ``after`` a sequence, or where the stream stands if there is none.

    While there is nothing to tell, the answer waits for ``wait`` seconds.
    """

    after: Count | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_FACTS)] = 100
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class Fact(Struct, kw_only=True):
    """A fact as it was told. ``sequence`` grows; ``id`` is the CloudEvents id."""

    sequence: int
    id: str
    type: str
    subject: str
    data: Raw


class Missed(Struct, kw_only=True):
    """The answer: facts in order, and the sequence to ask after next time; ``more``: ask again at once."""

    facts: list[Fact]
    last: int
    more: bool


def looks_right(user: str, password: str) -> bool:
    """Say whether these can be credentials at all, before anything is looked up."""
    return bool(_SHAPE.fullmatch(user)) and 20 <= len(password) <= 100 and password.isascii()


def may_be_answered(credential: str, reply: str) -> bool:
    """Say whether an answer would arrive at who asked: the broker does not check where it is wished."""
    return reply.startswith(f"{inbox_of(credential)}.")


def refusal_of(error: WoodshedError) -> Refusal:
    """Return what is said instead of facts."""
    return Refusal(code=error.code, message=error.message, status=error.status, field=error.field)


def credential_of(row: Any) -> EventCredential:
    """Show credentials."""
    return EventCredential(
        id=row["credential_id"],
        name=row["name"],
        member=row["member_id"],
        made_by=row["made_by"],
        created_at=int(row["created_at"].timestamp()),
        expires_at=_seconds(row["expires_at"]),
        connected_at=_seconds(row["connected_at"]),
        revoked_at=_seconds(row["revoked_at"]),
    )


def new_of(row: Any, secret: str, servers: str) -> NewEventCredential:
    """Show new credentials, this once with their secret."""
    user, tenant = row["credential_id"], row["tenant"]
    return NewEventCredential(
        servers=servers,
        user=user,
        password=secret,
        inbox_prefix=inbox_of(user),
        subject=f"evt.{tenant}.>",
        missed=missed_by(tenant, user),
        credential=credential_of(row),
    )


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())
