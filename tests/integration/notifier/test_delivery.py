"""One delivery record for each job, channel and thing to tell, and what becomes of it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from contracts.notices import NoticeDelivered, NoticeFailed
from libs.errors import Busy, Rejected
from libs.testing.platform import World
from services.notifier.app import build, configured
from services.notifier.calling import Caller
from services.notifier.channels.console import Console
from services.notifier.delivery import LEASE, give_up_stranded
from services.notifier.settings import Settings
from tests.integration.notifier.house import Notices, Scripted
from tests.integration.notifier.slack_server import FakeSlack
from tests.unit.notifier import facts


async def test_a_fact_travels_over_the_bus_to_slack_and_is_told_delivered(world: World) -> None:
    platform = await world.platform("notifier")
    async with FakeSlack().listening() as slack:
        settings = world.settings(Settings, slack_webhook=slack.webhook)
        assert isinstance(settings, Settings)
        async with world.service(await build(settings, platform), platform):
            await world.tell(facts.succeeded())
            await world.tell(facts.reported())
            told = await world.told(NoticeDelivered, count=2)
    await platform.db.close()
    assert {(each.job_id, each.channel, each.about, each.tries) for each in told} == {
        ("ftjob-1", "slack", "finished", 1),
        ("ftjob-1", "slack", "report", 1),
    }
    assert len(slack.accepted) == 2


async def test_a_job_owes_one_notice_for_each_channel_and_thing_however_often_it_is_told(notices: Notices) -> None:
    both = ("slack", "email")
    await notices.owe(facts.succeeded(), facts.succeeded(), facts.reported(), facts.unreported(), channels=both)
    assert sorted((row["channel"], row["about"]) for row in await notices.records()) == [
        ("email", "finished"),
        ("email", "report"),
        ("slack", "finished"),
        ("slack", "report"),
    ]


async def test_a_delivered_notice_keeps_what_was_said_and_is_sent_once(notices: Notices) -> None:
    await notices.owe(facts.succeeded())
    slack = Scripted("slack")
    assert await notices.delivery(slack).deliver_one()
    assert not await notices.delivery(slack).deliver_one()
    [row] = await notices.records()
    assert (row["state"], row["tries"], len(slack.sent)) == ("delivered", 1, 1)
    assert "Your model is ready" in row["said"]
    assert [each.notice_id for each in await notices.told(NoticeDelivered)] == [row["notice_id"]]


async def test_a_busy_channel_is_tried_again_only_when_its_time_has_come(notices: Notices) -> None:
    await notices.owe(facts.succeeded())
    delivery = notices.delivery(Scripted("slack", Busy("away")))
    assert await delivery.deliver_one()
    notices.clock.moves(9.9)
    assert not await delivery.deliver_one()
    notices.clock.moves(0.2)
    assert await delivery.deliver_one()
    [delivered] = await notices.told(NoticeDelivered)
    assert delivered.tries == 2


async def test_a_wait_the_channel_asked_for_is_kept(notices: Notices) -> None:
    await notices.owe(facts.succeeded())
    delivery = notices.delivery(Scripted("slack", Busy("slow down", after=50)))
    await delivery.deliver_one()
    notices.clock.moves(49)
    assert not await delivery.deliver_one()
    notices.clock.moves(2)
    assert await delivery.deliver_one()


async def test_after_the_last_try_the_record_says_failed_and_why(notices: Notices) -> None:
    await notices.owe(facts.succeeded())
    delivery = notices.delivery(Scripted("slack", *[Busy("Slack answered 503.")] * 3))
    for _ in range(3):
        assert await delivery.deliver_one()
        notices.clock.moves(11)
    assert not await delivery.deliver_one()
    [failed] = await notices.told(NoticeFailed)
    assert (failed.reason, failed.tries) == ("Slack answered 503. Given up after 3 tries.", 3)
    assert [row["state"] for row in await notices.records()] == ["failed"]


async def test_a_refusal_for_good_is_not_tried_again(notices: Notices) -> None:
    await notices.owe(facts.succeeded())
    delivery = notices.delivery(Scripted("slack", Rejected("Slack refused (404 no_service).")))
    assert await delivery.deliver_one()
    notices.clock.moves(1000)
    assert not await delivery.deliver_one()
    assert [each.reason for each in await notices.told(NoticeFailed)] == ["Slack refused (404 no_service)."]


async def test_a_bug_in_a_channel_is_tried_again_and_ends_in_a_record(notices: Notices) -> None:
    await notices.owe(facts.succeeded())
    delivery = notices.delivery(Scripted("slack", *[KeyError("oops")] * 3))
    while await delivery.deliver_one():
        notices.clock.moves(11)
    [failed] = await notices.told(NoticeFailed)
    assert "KeyError" in failed.reason


async def test_a_dead_channel_holds_up_no_other(notices: Notices) -> None:
    class Dead(Scripted):
        async def send(self, notice: object, notice_id: str, address: str = "") -> None:
            await asyncio.Event().wait()

    await notices.owe(facts.succeeded(), channels=("slack", "email"))
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        loops = [tasks.create_task(notices.delivery(each).run()) for each in (Dead("slack"), Scripted("email"))]
        while not await notices.told(NoticeDelivered):
            await asyncio.sleep(0.01)
        for loop in loops:
            loop.cancel()
    assert {row["channel"]: row["state"] for row in await notices.records()} == {
        "slack": "waiting",
        "email": "delivered",
    }


async def test_a_notice_whose_sender_died_is_taken_over_after_the_lease(notices: Notices) -> None:
    class Killed(Scripted):
        async def send(self, notice: object, notice_id: str, address: str = "") -> None:
            raise asyncio.CancelledError

    await notices.owe(facts.succeeded())
    with pytest.raises(asyncio.CancelledError):
        await notices.delivery(Killed("slack")).deliver_one()
    assert not await notices.delivery(Scripted("slack")).deliver_one()
    notices.clock.moves(LEASE.total_seconds() + 1)
    assert await notices.delivery(Scripted("slack")).deliver_one()
    [delivered] = await notices.told(NoticeDelivered)
    assert delivered.tries == 2


async def test_a_sender_that_was_overtaken_writes_nothing_back(notices: Notices) -> None:
    class Slow(Scripted):
        async def send(self, notice: object, notice_id: str, address: str = "") -> None:
            notices.clock.moves(LEASE.total_seconds() + 1)
            await notices.delivery(Scripted("slack")).deliver_one()

    await notices.owe(facts.succeeded())
    await notices.delivery(Slow("slack")).deliver_one()
    assert [each.tries for each in await notices.told(NoticeDelivered)] == [2]


async def test_many_senders_deliver_each_notice_once(notices: Notices) -> None:
    await notices.owe(*(facts.succeeded(job_id=f"job-{n}") for n in range(60)))
    slack = Scripted("slack")

    async def work() -> None:
        while await notices.delivery(slack).deliver_one():
            pass

    await asyncio.gather(*(work() for _ in range(6)))
    assert sorted(notice.job_id for notice in slack.sent) == sorted(f"job-{n}" for n in range(60))
    assert len(await notices.told(NoticeDelivered)) == 60


async def test_what_waits_for_a_channel_that_is_no_longer_configured_fails_with_that_reason(notices: Notices) -> None:
    await notices.owe(facts.succeeded(), channels=("slack", "email"))
    await give_up_stranded(notices.database, ["email"])
    [failed] = await notices.told(NoticeFailed)
    assert (failed.channel, "no longer configured" in failed.reason) == ("slack", True)
    assert {row["channel"]: row["state"] for row in await notices.records()} == {"slack": "failed", "email": "waiting"}


async def test_the_console_logs_the_notice_as_data(notices: Notices) -> None:
    await notices.owe(facts.reported(), channels=("console",))
    with capture_logs() as logged:
        await notices.delivery(Console()).deliver_one()
    [line] = [each for each in logged if each["event"] == "notice"]
    assert line["title"] == "The report is ready: your model got better"
    assert line["link"] == "https://woodshed.example/v1/fine_tuning/jobs/ftjob-1/report.html"


async def test_tenants_see_only_their_own_records(notices: Notices) -> None:
    await notices.owe(facts.succeeded(), facts.succeeded(tenant="zenith"))
    async with notices.database.transaction("zenith") as tx:
        assert await tx.fetchval("SELECT array_agg(tenant) FROM notifier.notice") == ["zenith"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["console"]),
        ({"slack_webhook": "https://hooks.slack.example/x"}, ["slack"]),
        ({"smtp_host": "mail.example", "mail_to": "a@example.com"}, ["email"]),
        (
            {"slack_webhook": "https://hooks.slack.example/x", "smtp_host": "m", "mail_to": "a@example.com"},
            ["slack", "email"],
        ),
    ],
)
def test_the_settings_choose_the_channels(given: dict[str, str], names: list[str]) -> None:
    assert [channel.name for channel in configured(Settings(**given), Caller())] == names


def test_half_a_mail_channel_is_refused_at_start() -> None:
    with pytest.raises(Rejected, match="WOODSHED_MAIL_TO"):
        configured(Settings(smtp_host="mail.example"), Caller())
