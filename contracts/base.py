"""The shapes every fact and question shares, and how a subject is spelled.

A *fact* is something that happened, told on JetStream in past tense, at least once.
A *question* is asked on core NATS with a deadline and changes nothing. Facts carry
ids, counts and figures, never a customer's words: streams then hold nothing to erase.
"""

import re
import secrets
import time
from datetime import datetime
from string import Formatter
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct

TenantId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{1,30}$")]
"""An organisation, spelled as in its subjects: lower-case letters, digits, hyphens."""

Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,80}$")]
"""An id that may stand between the dots of a subject."""

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]

PLATFORM: TenantId = "platform"
"""The tenant of facts that belong to no customer, such as a device on offer."""

_SAFE = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """Return an id that sorts by creation time: ``prefix-`` and 24 Crockford base-32 characters.

    48 bits of milliseconds come first, 72 random bits after (the ULID layout).
    """
    number = (int(time.time() * 1000) << 72) | secrets.randbits(72)
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(115, -1, -5)]
    return f"{prefix}-{''.join(digits)}"


class Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    """A fact. Subclasses name their tag ``aggregate.what.vN`` and their ``subject``.

    ``version`` grows by one with every fact of the same aggregate told by the same
    service, so a reader can drop what is older than what it has already seen.
    """

    subject: ClassVar[str]

    tenant: TenantId
    at: Annotated[datetime, Meta(tz=True)]
    version: Count = 0


class Question(Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something asked and answered within a deadline. Asking changes nothing."""

    subject: ClassVar[str]

    tenant: TenantId


class Refusal(Struct, frozen=True, kw_only=True, tag="refusal"):
    """The answer to a question that cannot be answered: what, how to mend it, and the ``field`` at fault if any."""

    code: str
    message: str
    status: int = 422
    field: str | None = None


def subject_of(event: Event) -> str:
    """Return the subject a fact is published on; ``ValueError`` names a token that cannot stand in one."""
    names = [name for _, name, _, _ in Formatter().parse(event.subject) if name]
    tokens = {name: str(getattr(event, name)) for name in names}
    for name, value in tokens.items():
        if not _SAFE.fullmatch(value):
            raise ValueError(f"{type(event).__name__}.{name} = {value!r} cannot stand in a subject")
    return event.subject.format(**tokens)


def pattern_of(kind: type[Event]) -> str:
    """Return the subject filter that matches every fact of this kind, for any tenant."""
    return re.sub(r"\{\w+\}", "*", kind.subject)


def type_of(kind: type[Event] | type[Question]) -> str:
    """Return the tag of a fact or question, such as ``run.finished.v1``."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def aggregate_of(event: Event) -> str:
    """Return ``tenant.aggregate.id``, the thing a fact's ``version`` counts for."""
    return ".".join(subject_of(event).split(".")[1:4])


def encode(message: Event | Question | Struct) -> bytes:
    """Encode as JSON, the only wire format."""
    return msgspec.json.encode(message)
