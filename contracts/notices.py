"""What became of the notices a job owes: one record per job and channel."""

from typing import ClassVar

from contracts.base import Count, Event, Token


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
