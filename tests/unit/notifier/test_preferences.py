"""When somebody is told: choices, quiet hours and digests by their own clock, and what is told elsewhere instead."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.notices import Choice, QuietHours
from services.notifier.domain.digest import MOST, digest_of
from services.notifier.domain.notice import Surroundings, notice_of
from services.notifier.domain.preferences import (
    Planned,
    Recipient,
    after_quiet,
    chosen,
    elsewhere,
    next_digest,
    plan,
    planned,
)
from tests.unit.notifier import facts

NIGHT = QuietHours(begin="22:00", end="07:00")
NOON = QuietHours(begin="12:00", end="13:30")
HERE = Surroundings("https://woodshed.example", "EUR")


def at(text: str) -> datetime:
    """Read a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ada(**changes: object) -> Recipient:
    given: dict[str, object] = {
        "recipient_id": "recipient-ada",
        "channels": ("email", "slack"),
        "zone": "Europe/Berlin",
    }
    return Recipient(**(given | changes))  # type: ignore[arg-type]


def test_while_nobody_is_named_everything_comes_at_once_on_every_channel() -> None:
    now = at("2026-11-21 03:00")
    assert plan([], "finished", ("slack", "email"), now) == [
        Planned(channel="slack", due_at=now),
        Planned(channel="email", due_at=now),
    ]


def test_an_address_of_ones_own_needs_no_channel_of_the_installation() -> None:
    noon = at("2026-11-21 12:00")
    slack_only = ada(channels=("email", "slack"), own=("slack",))
    assert [each.channel for each in plan([slack_only], "finished", ["console"], noon)] == ["slack"]
    assert [each.channel for each in elsewhere(slack_only, "email", ["email"], noon)] == ["slack"]
    assert [each.channel for each in plan([ada(channels=("slack",))], "finished", ["email"], noon)] == []


def test_whoever_is_named_is_told_as_they_chose_and_the_rest_comes_now() -> None:
    choices = (
        Choice(about="finished", channel="slack", when="digest"),
        Choice(about="remark", channel="email", when="off"),
    )
    one = ada(choices=choices)
    assert [chosen(one, about, "slack") for about in ("finished", "failed")] == ["digest", "now"]
    assert chosen(one, "remark:loss_spike", "email") == "off"
    now = at("2026-11-21 12:00")
    email, slack = plan([one, ada(recipient_id="other", channels=("sms",))], "finished", ("slack", "email"), now)
    assert (email.channel, email.due_at, email.digest) == ("email", now, False)
    assert (slack.channel, slack.due_at, slack.digest) == ("slack", at("2026-11-22 07:00"), True)
    assert not planned(one, "remark:loss_spike", "email", now).wanted


@pytest.mark.parametrize(
    ("quiet", "now", "told"),
    [
        (NIGHT, "2026-11-21 20:59", "2026-11-21 20:59"),
        (NIGHT, "2026-11-21 21:00", "2026-11-22 06:00"),
        (NIGHT, "2026-11-22 02:00", "2026-11-22 06:00"),
        (NIGHT, "2026-11-22 06:00", "2026-11-22 06:00"),
        (NOON, "2026-11-21 11:00", "2026-11-21 12:30"),
        (NOON, "2026-11-21 12:30", "2026-11-21 12:30"),
        (None, "2026-11-21 23:00", "2026-11-21 23:00"),
        (QuietHours(begin="08:00", end="08:00"), "2026-11-21 07:00", "2026-11-21 07:00"),
    ],
)
def test_quiet_hours_hold_a_notice_until_they_end(quiet: QuietHours | None, now: str, told: str) -> None:
    assert after_quiet(ada(quiet=quiet), at(now)) == at(told)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2026-03-28 22:00", "2026-03-29 05:00"),
        ("2026-10-24 21:00", "2026-10-25 06:00"),
    ],
    ids=["the night an hour is skipped", "the night an hour comes twice"],
)
def test_quiet_hours_end_by_the_recipients_clock_when_it_is_changed(now: str, told: str) -> None:
    assert after_quiet(ada(quiet=NIGHT), at(now)) == at(told)


def test_quiet_hours_that_end_in_the_hour_that_is_skipped_end_with_it() -> None:
    assert after_quiet(ada(quiet=QuietHours(begin="22:00", end="02:30")), at("2026-03-28 23:00")) == at(
        "2026-03-29 01:30"
    )


def test_quiet_hours_that_end_in_the_hour_that_comes_twice_end_in_both() -> None:
    one = ada(quiet=QuietHours(begin="22:00", end="02:30"))
    assert after_quiet(one, at("2026-10-24 23:00")) == at("2026-10-25 00:30")
    assert after_quiet(one, at("2026-10-25 01:10")) == at("2026-10-25 01:30")


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2026-11-21 05:59", "2026-11-21 07:00"),
        ("2026-11-21 07:00", "2026-11-22 07:00"),
        ("2026-03-28 12:00", "2026-03-29 06:00"),
        ("2026-10-24 12:00", "2026-10-25 07:00"),
    ],
    ids=["today", "the next, at the very moment", "after the clock went forward", "after it went back"],
)
def test_a_digest_comes_at_its_time_of_day(now: str, told: str) -> None:
    assert next_digest(ada(), at(now)) == at(told)


def test_a_digest_in_the_hour_that_comes_twice_comes_once() -> None:
    one = ada(digest_at="02:30")
    first = next_digest(one, at("2026-10-24 12:00"))
    assert (first, next_digest(one, first)) == (at("2026-10-25 00:30"), at("2026-10-26 01:30"))


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
)
TIMES = st.times().map(lambda time: f"{time.hour:02}:{time.minute:02}")
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(ZONES, TIMES, TIMES, MOMENTS)
def test_nothing_is_told_early_nor_in_quiet_hours_nor_after_more_than_a_day_or_so(
    zone: str, begin: str, end: str, now: datetime
) -> None:
    one = ada(zone=zone, quiet=QuietHours(begin=begin, end=end), digest_at=end)
    told = after_quiet(one, now)
    assert now <= told <= now + timedelta(hours=25)
    assert now < next_digest(one, now) <= now + timedelta(hours=49)


def test_what_one_channel_does_not_take_is_told_by_the_others_of_the_same_recipient() -> None:
    now = at("2026-11-21 12:00")
    [other] = elsewhere(ada(channels=("email", "slack", "sms")), "slack", ("slack", "email"), now)
    assert (other.channel, other.recipient, other.instead_of) == ("email", "recipient-ada", "slack")
    assert [each.channel for each in elsewhere(None, "slack", ("slack", "email"), now)] == ["email"]
    assert list(elsewhere(ada(channels=("slack",)), "slack", ("slack", "email"), now)) == []


def test_a_digest_counts_what_happened_and_says_first_what_went_wrong() -> None:
    told = [facts.succeeded(), facts.failed(job_id="ftjob-2"), facts.succeeded(job_id="ftjob-3")]
    digest = digest_of([notice_of(fact, HERE) for fact in told], HERE)
    assert digest.title == "Your digest: 3 things happened"
    assert digest.lead == "1 × training did not succeed; 2 × your model is ready."
    assert [label for label, _ in digest.figures] == ["ftjob-2", "ftjob-1", "ftjob-3"]
    assert digest.figures[1][1] == "Your model is ready: ft:SmolLM2-135M-Instruct:acme:coach:7p4xure2"
    assert (digest.mood, digest.link) == ("bad", "https://woodshed.example/v1/fine_tuning/jobs")


def test_a_long_digest_stays_within_what_slack_draws() -> None:
    digest = digest_of([notice_of(facts.succeeded(job_id=f"ftjob-{n}"), HERE) for n in range(100)], HERE)
    assert len(digest.figures) == MOST + 1
    assert digest.figures[-1][1].startswith("60 further")
