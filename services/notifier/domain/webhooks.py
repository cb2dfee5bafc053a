"""What is sent to a webhook, how it is signed, and when it is tried again.

The message is OpenAI's event, the headers are Standard Webhooks'
(github.com/standard-webhooks/standard-webhooks, spec 1.0): the id stays the same over all tries, so a
receiver can drop what it has, and the time is that of the try, so that it can refuse what is old.
"""

import base64
import hashlib
import hmac
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from contracts.base import aggregate_of, type_of
from contracts.evaluations import EvaluationFailed, ReportReady
from contracts.jobs import JobCancelled, JobFailed, JobSucceeded
from contracts.runs import RunRemarked
from services.notifier.domain.notice import JobFact

TYPES: dict[type[JobFact], str] = {
    JobSucceeded: "fine_tuning.job.succeeded",
    JobFailed: "fine_tuning.job.failed",
    JobCancelled: "fine_tuning.job.cancelled",
    RunRemarked: "woodshed.job.remarked",
    ReportReady: "woodshed.report.ready",
    EvaluationFailed: "woodshed.report.failed",
}
"""The name a receiver knows each fact by."""

SAMPLE_JOB = "ftjob-sample"

SECOND, MINUTE, HOUR = 1.0, 60.0, 3600.0
WAITS = (5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 20 * HOUR)
"""Between the tries: the first at once, the tenth and last after just under three days."""

LONGEST_ASKED = 24 * HOUR
GONE = 410


class Message(Struct, frozen=True, kw_only=True):
    """One event as it is sent: the same bytes to every endpoint, on every try."""

    event_id: str
    type: str
    job_id: str
    body: str


class Schedule(Struct, frozen=True, kw_only=True):
    """When a delivery is tried again; ``jitter`` (0 to 1) spreads the waits by a tenth either way."""

    waits: tuple[float, ...] = WAITS
    jitter: Callable[[], float] = random.random

    def wait(self, tried: int, asked: float = 0.0) -> float | None:
        """Return the seconds to wait after ``tried`` tries, at least those ``asked`` for (a day at most).

        ``None``: that was the last.
        """
        if tried > len(self.waits):
            return None
        return max(min(asked, LONGEST_ASKED), self.waits[tried - 1] * (0.9 + self.jitter() / 5))


def type_named(fact: JobFact) -> str:
    """Return what the event is called."""
    return TYPES[type(fact)]


def message_of(fact: JobFact) -> Message:
    """Return the event a fact is to the outside: OpenAI's shape, ids only. A fact told twice is one event."""
    name = f"{type_of(type(fact))} {aggregate_of(fact)} {fact.version}"
    event_id = f"evt_{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return _message(event_id, type_named(fact), fact.job_id, fact.at)


def sample(event_type: str, event_id: str, at: datetime) -> Message:
    """Return an event of this type about a job that does not exist."""
    return _message(event_id, event_type, SAMPLE_JOB, at)


def headers(message_id: str, body: str, at: datetime, secrets: Sequence[str], *, hex_signature: bool) -> dict[str, str]:
    """Return the headers of one try: a signature with each of ``secrets``, which are ``whsec_…``, the newest first.

    ``hex_signature`` adds what Laravel's usual webhook client compares (``hash_hmac('sha256', $body, $secret)``,
    with the newest secret as it was shown).
    """
    seconds = str(int(at.timestamp()))
    signed = f"{message_id}.{seconds}.{body}".encode()
    given = {
        "content-type": "application/json",
        "user-agent": "Woodshed-Webhooks/1",
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }
    if hex_signature:
        given["signature"] = hmac.new(secrets[0].encode(), body.encode(), hashlib.sha256).hexdigest()
    return given


def judged(status_code: int) -> Literal["taken", "gone", "again"]:
    """Say what an answer means: 2xx takes the event, 410 wants no other, all else (redirects too) is tried again."""
    if 200 <= status_code < 300:
        return "taken"
    return "gone" if status_code == GONE else "again"


def _message(event_id: str, event_type: str, job_id: str, at: datetime) -> Message:
    event = {
        "id": event_id,
        "object": "event",
        "type": event_type,
        "created_at": int(at.timestamp()),
        "data": {"id": job_id},
    }
    return Message(event_id=event_id, type=event_type, job_id=job_id, body=msgspec.json.encode(event).decode())


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
