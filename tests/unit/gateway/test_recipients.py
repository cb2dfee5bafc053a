"""Which wishes about notices make sense, and that no fact about them names anybody."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.base import encode
from libs.errors import Rejected
from services.cli.errors import Unusable
from services.cli.notices import choices, quiet_hours
from services.gateway.domain.recipients import RecipientWish, check, kept, masked, set_fact, slack_of

GOOD: dict[str, Any] = {
    "name": "Ada", "email": "ada@studio.example", "slack": True, "choices": {"finished": {"slack": "digest"}},
    "time_zone": "Europe/Berlin", "quiet_hours": {"begin": "22:00", "end": "07:00"}, "digest_at": "08:30",
}  # fmt: skip


def wish(**changes: Any) -> RecipientWish:
    return msgspec.convert(GOOD | changes, RecipientWish)


def test_a_wish_becomes_a_fact_without_name_or_address() -> None:
    check(wish())
    fact = set_fact("studio", "recipient-1", wish(), datetime.now(UTC))
    assert fact.channels == ("email", "slack")
    assert (fact.zone, fact.digest_at, fact.quiet and fact.quiet.begin) == ("Europe/Berlin", "08:30", "22:00")
    assert b"ada" not in encode(fact).lower()
    assert "ada@" not in kept(wish())


HOOK = "https://hooks.slack.com/services/T000/B000/verysecret"


def test_an_address_of_ones_own_is_kept_until_it_is_taken_back_and_never_told_or_shown() -> None:
    alone = wish(email=None, slack=False, slack_address=HOOK)
    own = slack_of(alone, "", private_allowed=False)
    check(alone, own)
    fact = set_fact("studio", "recipient-1", alone, datetime.now(UTC), own)
    assert (fact.channels, fact.own) == (("slack",), ("slack",))
    assert b"secret" not in encode(fact)
    assert "secret" not in kept(alone)
    assert slack_of(wish(), own, private_allowed=False) == HOOK
    assert slack_of(wish(slack_address=None), own, private_allowed=False) == ""
    assert (masked(HOOK), masked("https://h.example/short"), masked("")) == (
        "https://hooks.slack.com/…cret", "https://h.example/…", "",
    )  # fmt: skip


@pytest.mark.parametrize(
    "inner", ["http://hooks.slack.com/x", "https://127.0.0.1/x", "https://[::1]/x", "https://10.0.0.1/"]
)
def test_an_address_that_leads_inside_or_is_not_protected_is_refused(inner: str) -> None:
    with pytest.raises(Rejected) as refused:
        slack_of(wish(slack_address=inner), "", private_allowed=False)
    assert (refused.value.code, refused.value.field) == ("bad_url", "slack_address")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": None, "slack": False}, "email"),
        ({"email": "ada"}, "email"),
        ({"email": "ada@studio.example, eve@rival.example"}, "email"),
        ({"email": "ada@studio.example\r\nBcc: eve@rival.example"}, "email"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"choices": {"birthday": {"email": "now"}}}, "choices"),
        ({"choices": {"finished": {"pigeon": "now"}}}, "choices"),
        ({"choices": {"finished": {"email": "tomorrow"}}}, "choices"),
    ],
)
def test_a_wish_that_reaches_nobody_or_makes_no_sense_names_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(Rejected) as refused:
        check(wish(**change))
    assert refused.value.field == field


@pytest.mark.parametrize(
    "change", [{"digest_at": "24:00"}, {"quiet_hours": {"begin": "9", "end": "10:00"}}, {"sms": "1"}]
)
def test_what_has_not_the_shape_is_refused_before(change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        wish(**change)


def test_the_command_line_reads_choices_and_quiet_hours() -> None:
    assert choices(["finished:email:digest", "finished:slack:off"]) == {"finished": {"email": "digest", "slack": "off"}}
    assert quiet_hours("22:00 - 07:00") == {"begin": "22:00", "end": "07:00"}
    for wrong in (lambda: choices(["finished"]), lambda: quiet_hours("22:00")):
        with pytest.raises(Unusable):
            wrong()
