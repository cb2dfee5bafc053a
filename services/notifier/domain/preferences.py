"""When somebody is told something, and on which channel: their choices, quiet hours and daily digest.

Times of day are by the recipient's own clock, also over the days when it is put forward or back.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from contracts.notices import Choice, QuietHours


class Recipient(Struct, frozen=True, kw_only=True):
    """Somebody who is told, by the channels that reach them, the dearest first.

    ``own`` channels do so at an address of their own, the others where this installation posts to.
    """

    recipient_id: str
    channels: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    zone: str = "UTC"
    quiet: QuietHours | None = None
    digest_at: str = "08:00"
    own: tuple[str, ...] = ()

    def by(self, channels: Sequence[str]) -> list[str]:
        """Return the channels that reach them where the installation has these."""
        return [channel for channel in self.channels if channel in channels or channel in self.own]


class Planned(Struct, frozen=True, kw_only=True):
    """A notice to be owed: on which channel, to whom (empty: the installation's own address), when.

    ``digest``: it waits to be told together with others. ``wanted`` is false for what somebody turned off.
    """

    channel: str
    due_at: datetime
    recipient: str = ""
    digest: bool = False
    wanted: bool = True
    instead_of: str = ""


def plan(recipients: Sequence[Recipient], about: str, channels: Sequence[str], at: datetime) -> list[Planned]:
    """Return what is owed about something: to everybody who is named, or while nobody is, on every channel there is."""
    if not recipients:
        return [Planned(channel=channel, due_at=at) for channel in channels]
    return [planned(recipient, about, channel, at) for recipient in recipients for channel in recipient.by(channels)]


def planned(recipient: Recipient, about: str, channel: str, at: datetime) -> Planned:
    """Return when somebody is told something on a channel."""
    when = chosen(recipient, about, channel)
    due_at = next_digest(recipient, at) if when == "digest" else after_quiet(recipient, at)
    return Planned(
        channel=channel,
        due_at=due_at,
        recipient=recipient.recipient_id,
        digest=when == "digest",
        wanted=when != "off",
    )


def elsewhere(recipient: Recipient | None, failed: str, channels: Sequence[str], at: datetime) -> Iterator[Planned]:
    """Yield where else to tell what one channel did not take, the dearest first, whatever was chosen for it."""
    reaching = channels if recipient is None else recipient.by(channels)
    for channel in reaching:
        if channel != failed:
            yield Planned(
                channel=channel,
                due_at=after_quiet(recipient, at) if recipient else at,
                recipient=recipient.recipient_id if recipient else "",
                instead_of=failed,
            )


def chosen(recipient: Recipient, about: str, channel: str) -> str:
    """Return now, digest or off; every kind of remark is one thing to choose about."""
    kind = about.partition(":")[0]
    found = [each.when for each in recipient.choices if (each.about, each.channel) == (kind, channel)]
    return found[-1] if found else "now"


def after_quiet(recipient: Recipient, at: datetime) -> datetime:
    """Return ``at``, or the end of the quiet hours it falls into."""
    if recipient.quiet is None:
        return at
    begin, end = time.fromisoformat(recipient.quiet.begin), time.fromisoformat(recipient.quiet.end)
    here = at.astimezone(ZoneInfo(recipient.zone)).time()
    quiet = begin <= here < end if begin <= end else here >= begin or here < end
    return _next(end, recipient.zone, at) if quiet else at


def next_digest(recipient: Recipient, at: datetime) -> datetime:
    """Return when the next daily digest is due; one that is due this very moment is over."""
    return _next(time.fromisoformat(recipient.digest_at), recipient.zone, at, folds=(0,))


def _next(wall: time, zone: str, at: datetime, folds: tuple[int, ...] = (0, 1)) -> datetime:
    """Return when a clock of this zone next shows a time: an hour that is skipped counts as the one after it."""
    today = at.astimezone(ZoneInfo(zone)).date()
    shown = (
        datetime.combine(today + timedelta(days=days), wall, ZoneInfo(zone)).replace(fold=fold).astimezone(UTC)
        for days in (0, 1, 2)
        for fold in folds
    )
    return next(moment for moment in shown if moment > at)
