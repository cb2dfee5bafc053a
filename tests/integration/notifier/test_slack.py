"""Slack's webhook, spoken against a server that answers like it."""

import pytest

from libs.errors import Busy, Rejected
from services.notifier.calling import Caller
from services.notifier.channels.slack import Slack
from services.notifier.domain.notice import notice_of
from tests.integration.notifier.house import HERE
from tests.integration.notifier.slack_server import FakeSlack
from tests.unit.notifier import facts

NOTICE = notice_of(facts.succeeded(model="ft:<!channel>"), HERE)


async def test_slack_takes_the_message_as_block_kit() -> None:
    async with FakeSlack().listening() as slack:
        await Slack(slack.webhook, Caller()).send(NOTICE, "notice-1")
    [message] = slack.accepted
    assert [block["type"] for block in message["blocks"]][:2] == ["header", "section"]
    assert message["text"].startswith("✅ Your model is ready")


@pytest.mark.parametrize(
    ("status", "text", "headers", "after"),
    [
        (429, "rate_limited", {"Retry-After": "30"}, 30.0),
        (429, "rate_limited", {}, 0.0),
        (500, "rollup_error", {}, 0.0),
        (503, "", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
    ],
)
async def test_what_passes_is_tried_again_when_slack_says(
    status: int, text: str, headers: dict[str, str], after: float
) -> None:
    async with FakeSlack((status, text, headers)).listening() as slack:
        with pytest.raises(Busy) as busy:
            await Slack(slack.webhook, Caller()).send(NOTICE, "notice-1")
    assert busy.value.after == after
    assert str(status) in busy.value.message


@pytest.mark.parametrize(
    ("status", "text", "fix"),
    [
        (404, "no_service", "Make a new incoming webhook"),
        (403, "action_prohibited", "ask for permission"),
        (410, "channel_is_archived", "unarchive it"),
        (400, "invalid_blocks", "report this as a bug"),
        (302, "", "Make a new incoming webhook"),
    ],
)
async def test_what_never_passes_says_what_to_do(status: int, text: str, fix: str) -> None:
    elsewhere = {"Location": "http://169.254.169.254/"}
    async with FakeSlack((status, text, elsewhere)).listening() as slack:
        with pytest.raises(Rejected) as refused:
            await Slack(slack.webhook, Caller()).send(NOTICE, "notice-1")
    assert fix in refused.value.message
    assert "secret" not in refused.value.message
    assert slack.asked == 1


async def test_a_slack_that_cannot_be_reached_is_tried_again_without_naming_the_secret() -> None:
    async with FakeSlack().listening() as slack:
        pass
    with pytest.raises(Busy, match="could not be reached") as busy:
        await Slack(slack.webhook, Caller()).send(NOTICE, "notice-1")
    assert "secret" not in busy.value.message


async def test_somebodys_own_address_is_called_as_webhooks_are_and_never_inside() -> None:
    async with FakeSlack().listening() as slack:
        await Slack("", Caller(private_allowed=True)).send(NOTICE, "notice-1", slack.webhook)
        assert len(slack.accepted) == 1
        with pytest.raises(Busy, match="an address of this machine") as refused:
            await Slack("", Caller()).send(NOTICE, "notice-1", slack.webhook)
    assert slack.asked == 1
    assert "secret" not in refused.value.message
    with pytest.raises(Rejected, match="no Slack channel"):
        await Slack("", Caller()).send(NOTICE, "notice-1")


@pytest.mark.parametrize(
    ("status", "text", "kind", "fix"),
    [
        (429, "rate_limited", Busy, "429"),
        (404, "no_service", Rejected, "as slack_address"),
        (410, "channel_is_archived", Rejected, "unarchive it"),
        (302, "", Rejected, "as slack_address"),
    ],
)
async def test_what_slack_says_to_somebodys_own_address_is_said_to_whoever_reads_the_record(
    status: int, text: str, kind: type[Exception], fix: str
) -> None:
    async with FakeSlack((status, text, {"Retry-After": "30"})).listening() as slack:
        with pytest.raises(kind) as refused:
            await Slack("", Caller(private_allowed=True)).send(NOTICE, "notice-1", slack.webhook)
    assert fix in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not isinstance(refused.value, Busy) or refused.value.after == 30.0
