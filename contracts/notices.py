"""Whom notices are for, and what became of those a job owes: one record per job, channel and recipient.

No fact names a person or an address: the gateway keeps them, and tells the notifier when it asks.
"""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from contracts.base import Count, Event, Question, Token

Word = Annotated[str, Meta(pattern=r"^[a-z_]{1,40}$")]
TimeOfDay = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Zone = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+/-]{1,64}$")]
"""A name of the IANA time zone database, such as ``Europe/Berlin``."""

NOTICES = ("finished", "failed", "cancelled", "report", "remark", "budget")
"""What a notice may be about, for a person who chooses; every kind of remark counts as one, but those on budgets."""

CHANNELS = ("email", "slack")
WHENS = ("now", "digest", "off")


class NoticeDelivered(Event, frozen=True, kw_only=True, tag="notice.delivered.v1"):
    """The channel accepted the notice."""

    subject: ClassVar[str] = "evt.{tenant}.notice.{notice_id}.delivered"

    notice_id: Token
    job_id: Token
    channel: str
    about: str
    tries: Count


class NoticeFailed(Event, frozen=True, kw_only=True, tag="notice.failed.v1"):
    """The channel refused the notice for good; ``reason`` says why."""

    subject: ClassVar[str] = "evt.{tenant}.notice.{notice_id}.failed"

    notice_id: Token
    job_id: Token
    channel: str
    about: str
    reason: str
    tries: Count


class Choice(Struct, frozen=True, kw_only=True):
    """How one recipient wants one thing on one channel: ``now``, in the daily ``digest``, or ``off``."""

    about: Word
    channel: Word
    when: Word


class QuietHours(Struct, frozen=True, kw_only=True):
    """From when to when notices wait, by the recipient's own clock; over midnight where it ends before it begins."""

    begin: TimeOfDay
    end: TimeOfDay


class RecipientSet(Event, frozen=True, kw_only=True, tag="recipient.set.v1"):
    """How somebody wants to be told: this is all of it. Of several the one with the largest version stands.

    ``channels`` are those that reach them, the dearest first, and ``own`` those of them that do so at an address of
    theirs, whatever the installation has; what no choice is about comes ``now``.
    """

    subject: ClassVar[str] = "evt.{tenant}.recipient.{recipient_id}.set"

    recipient_id: Token
    channels: tuple[Word, ...]
    choices: tuple[Choice, ...] = ()
    zone: Zone = "UTC"
    quiet: QuietHours | None = None
    digest_at: TimeOfDay = "08:00"
    own: tuple[Word, ...] = ()


class RecipientRemoved(Event, frozen=True, kw_only=True, tag="recipient.removed.v1"):
    """Somebody is not told any more; their address is forgotten."""

    subject: ClassVar[str] = "evt.{tenant}.recipient.{recipient_id}.removed"

    recipient_id: Token


class WhereToReach(Question, frozen=True, kw_only=True, tag="recipient.reach.v1"):
    """Where is this recipient written to?"""

    subject: ClassVar[str] = "ask.gateway.reach"

    recipient_id: Token


class Reached(Struct, frozen=True, kw_only=True, tag="recipient.reach_answer.v1"):
    """The answer to :class:`WhereToReach`; empty where there is no such address.

    ``slack`` is a webhook of their own, a secret. ``shared_slack``: without one they read the installation's channel.
    """

    email: str = ""
    slack: str = ""
    shared_slack: bool = True
