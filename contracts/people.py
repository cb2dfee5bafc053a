"""People who are invited: told without name, address or secret, which only the gateway has."""

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from contracts.base import Count, Event, Question, Token

INVITATION = "invitation"
"""What a notice with an invitation is about, a colon and its number after it."""


class MemberInvited(Event, frozen=True, kw_only=True, tag="member.invited.v1"):
    """Somebody shall set a password and is to be written to; of several invitations the last one holds."""

    subject: ClassVar[str] = "evt.{tenant}.member.{member_id}.invited"

    member_id: Token


class ReadInvitation(Question, frozen=True, kw_only=True, tag="member.read_invitation.v1"):
    """Where is this member written to, and with what invitation? ``number`` is the version of the fact."""

    subject: ClassVar[str] = "ask.gateway.invitation"

    member_id: Token
    number: Count


class InvitationRead(Struct, frozen=True, kw_only=True, tag="member.read_invitation_answer.v1"):
    """The answer to :class:`ReadInvitation`; ``invitation`` is a secret and goes into the letter alone."""

    email: str
    invitation: str
    until: Annotated[datetime, Meta(tz=True)]
