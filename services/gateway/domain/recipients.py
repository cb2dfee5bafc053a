"""What people may wish of being told, and how it is shown."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from contracts.notices import CHANNELS, NOTICES, WHENS, Choice, QuietHours, Reached, RecipientSet, TimeOfDay
from libs.errors import Rejected
from libs.sealing import Seal
from services.gateway.domain.webhooks import checked_url
from services.gateway.domain.wishes import Wish

MOST_RECIPIENTS = 200
ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f,;<>\"()\[\]\\:]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})+")

When = Annotated[str, Meta(examples=["digest"])]
BY_CHANNEL = {
    "type": "object",
    "propertyNames": {"enum": list(CHANNELS)},
    "additionalProperties": {"type": "string", "enum": list(WHENS)},
}
Choices = Annotated[
    dict[str, dict[str, When]],
    Meta(
        max_length=20,
        examples=[{"finished": {"email": "digest"}}],
        extra_json_schema={"propertyNames": {"enum": list(NOTICES)}, "additionalProperties": BY_CHANNEL},
    ),
]
SlackAddress = Annotated[
    str, Meta(min_length=1, max_length=500, examples=["https://hooks.slack.com/services/T000/B000/secret"])
]
NamedZone = Annotated[str, Meta(max_length=64, examples=["Europe/Berlin"])]


class WishedQuiet(Wish, frozen=True, kw_only=True):
    """From when to when nothing comes at once, by the recipient's clock; it may go over midnight."""

    begin: TimeOfDay
    end: TimeOfDay


class RecipientWish(Wish, frozen=True, kw_only=True):
    """Who is told, and how: the body of ``POST /v1/notice_recipients``, and of a change, which replaces the whole.

    ``slack`` means the channel this installation posts to; with a ``slack_address``, which is an incoming webhook of
    Slack, it is one's own. That is never shown again: a change that leaves it out keeps it, null forgets it.
    ``choices`` say for each thing (finished, failed, cancelled, report, remark, budget) and channel (email, slack)
    whether it comes ``now``, in the ``digest`` or is ``off``; what they leave out comes now.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200, examples=["Ada"])]
    email: (
        Annotated[
            str,
            Meta(
                max_length=254,
                examples=["ada@studio.example"],
                extra_json_schema={"pattern": f"^({ADDRESS.pattern})?$"},
            ),
        ]
        | None
    ) = None
    slack: bool = False
    slack_address: SlackAddress | UnsetType | None = UNSET
    choices: Choices = msgspec.field(default_factory=dict)
    time_zone: NamedZone = "UTC"
    quiet_hours: WishedQuiet | None = None
    digest_at: TimeOfDay = "08:00"


class NoticeRecipient(Struct, kw_only=True):
    """Somebody who is told what happens. Of ``slack_address`` only the beginning and the end are shown."""

    id: str
    name: str
    email: str | None
    slack: bool
    slack_address: str | None
    choices: dict[str, dict[str, str]]
    time_zone: str
    quiet_hours: QuietHours | None
    digest_at: str
    created_at: int
    updated_at: int
    object: Literal["notice_recipient"] = "notice_recipient"


class DeletedRecipient(Struct, kw_only=True):
    """Somebody who is told nothing more, and whose address is forgotten."""

    id: str
    deleted: bool = True
    object: Literal["notice_recipient.deleted"] = "notice_recipient.deleted"


def slack_of(wish: RecipientWish, before: str, *, private_allowed: bool) -> str:
    """Return the Slack address that somebody has from now on, empty for none; ``Rejected`` if it may not be called."""
    if isinstance(wish.slack_address, UnsetType):
        return before
    if wish.slack_address is None:
        return ""
    return checked_url(wish.slack_address, private_allowed=private_allowed, field="slack_address")


def check(wish: RecipientWish, slack_address: str = "") -> None:
    """Refuse a wish that reaches nobody, or says what nobody knows."""
    if not wish.email and not wish.slack and not slack_address:
        raise _bad("This reaches nobody. Give an email address, a slack_address, or slack: true.", "email")
    if wish.email and not ADDRESS.fullmatch(wish.email):
        raise _bad("That is no email address. Give one such as ada@studio.example.", "email")
    if wish.time_zone not in available_timezones():
        raise _bad(f"{wish.time_zone!r} is no time zone. Give one such as Europe/Berlin.", "time_zone")
    for about, by_channel in wish.choices.items():
        _check_known(about, NOTICES)
        for channel, when in by_channel.items():
            _check_known(channel, CHANNELS)
            _check_known(when, WHENS)


def set_fact(
    tenant: str, recipient_id: str, wish: RecipientWish, at: datetime, slack_address: str = ""
) -> RecipientSet:
    """Return the fact that says how somebody is told; it has neither name nor address."""
    choices = [
        Choice(about=about, channel=channel, when=when)
        for about, by_channel in wish.choices.items()
        for channel, when in by_channel.items()
    ]
    quiet = wish.quiet_hours
    return RecipientSet(
        tenant=tenant,
        at=at,
        recipient_id=recipient_id,
        channels=tuple(
            channel for channel, has in (("email", wish.email), ("slack", wish.slack or slack_address)) if has
        ),
        own=("slack",) if slack_address else (),
        choices=tuple(choices),
        zone=wish.time_zone,
        quiet=QuietHours(begin=quiet.begin, end=quiet.end) if quiet else None,
        digest_at=wish.digest_at,
    )


def kept(wish: RecipientWish) -> str:
    """Return a wish as it is stored; the addresses have columns of their own."""
    return msgspec.json.encode(msgspec.structs.replace(wish, email=None, slack_address=UNSET)).decode()


def own_slack(row: Any, seal: Seal) -> str:
    """Return somebody's own Slack address; empty: none, or none that this installation's secrets open."""
    kept = row["slack_address"]
    return (kept and seal.opened(kept, row["recipient_id"])) or ""


def recipient_of(row: Any, seal: Seal) -> NoticeRecipient:
    """Show somebody who is told."""
    wish = msgspec.json.decode(row["wishes"], type=RecipientWish)
    quiet = wish.quiet_hours
    return NoticeRecipient(
        id=row["recipient_id"],
        name=wish.name,
        email=row["email"] or None,
        slack=wish.slack,
        slack_address=masked(own_slack(row, seal)) or None,
        choices=wish.choices,
        time_zone=wish.time_zone,
        quiet_hours=QuietHours(begin=quiet.begin, end=quiet.end) if quiet else None,
        digest_at=wish.digest_at,
        created_at=int(row["created_at"].timestamp()),
        updated_at=int(row["updated_at"].timestamp()),
    )


def masked(address: str) -> str:
    """Return of a secret address what tells it from others: where it leads, and its last four characters."""
    if not address:
        return ""
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}/…{path[-4:] if len(path) > 12 else ''}"


def reached_of(row: Any, seal: Seal) -> Reached:
    """Return the addresses that the notifier may write to."""
    wish = msgspec.json.decode(row["wishes"], type=RecipientWish)
    return Reached(email=row["email"], slack=own_slack(row, seal), shared_slack=wish.slack)


def _check_known(word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise _bad(f"{word[:100]!r} means nothing in choices. Choose from: {', '.join(known)}.", "choices")


def _bad(message: str, field: str) -> Rejected:
    return Rejected(message, code="bad_recipient", field=field)
