"""Notices as people want them, on a real database: each recorded once, held, gathered, or told elsewhere."""

from datetime import datetime
from typing import Any

from contracts.notices import Choice, NoticeDelivered, NoticeFailed, RecipientRemoved, RecipientSet
from contracts.people import InvitationRead, MemberInvited
from libs.errors import Busy, NotFound, Rejected
from libs.waking import Wake
from services.notifier.handlers import invite, remove_recipient, set_recipient
from tests.integration.notifier.house import Notices, Scripted
from tests.unit.notifier import facts

BOTH = ("slack", "email")
DIGEST = tuple(Choice(about=about, channel="email", when="digest") for about in ("finished", "failed"))


async def named(notices: Notices, version: int = 1, **changes: Any) -> None:
    """Somebody wants to be told, by mail and in Slack."""
    given: dict[str, Any] = {"tenant": "acme", "at": notices.clock(), "recipient_id": "recipient-ada"}
    given |= {"version": version, "channels": ("email", "slack")}
    async with notices.database.transaction("acme") as tx:
        await set_recipient(RecipientSet(**(given | changes)), tx)


async def reach(tenant: str, recipient: str, channel: str) -> str:
    return f"{recipient}@{tenant}.example"


async def states(notices: Notices) -> list[tuple[str, str, str]]:
    return sorted((row["channel"], row["recipient"], row["state"]) for row in await notices.records())


async def test_everybody_named_has_one_record_for_each_channel_and_what_is_off_is_recorded_too(
    notices: Notices,
) -> None:
    await named(notices, choices=(Choice(about="finished", channel="slack", when="off"),))
    await named(notices, recipient_id="recipient-bob", channels=("email",))
    await notices.owe(facts.succeeded(), facts.succeeded(), channels=BOTH)
    assert await states(notices) == [
        ("email", "recipient-ada", "waiting"),
        ("email", "recipient-bob", "waiting"),
        ("slack", "recipient-ada", "unwanted"),
    ]
    email = Scripted("email")
    while await notices.delivery(email, reach=reach).deliver_one():
        pass
    assert sorted(email.addresses) == ["recipient-ada@acme.example", "recipient-bob@acme.example"]
    assert not await notices.delivery(Scripted("slack")).deliver_one()


async def test_of_two_wishes_the_later_stands_and_whoever_is_removed_is_told_nothing(notices: Notices) -> None:
    await named(notices, version=2, channels=("email",))
    await named(notices, version=1)
    await notices.owe(facts.succeeded(), channels=BOTH)
    assert [channel for channel, _, _ in await states(notices)] == ["email"]
    async with notices.database.transaction("acme") as tx:
        gone = RecipientRemoved(tenant="acme", at=notices.clock(), version=3, recipient_id="recipient-ada")
        await remove_recipient(gone, tx)
    await named(notices, version=2)
    await notices.owe(facts.failed(job_id="ftjob-2"), channels=("slack",))
    assert ("slack", "", "waiting") in await states(notices), "nobody is named: the installation's own address"


async def test_a_digest_tells_everything_that_waited_once_and_settles_each(notices: Notices) -> None:
    await named(notices, channels=("email",), choices=DIGEST)
    await notices.owe(facts.succeeded(), facts.failed(job_id="ftjob-2"), channels=BOTH)
    await notices.owe(facts.reported(job_id="ftjob-2"), channels=BOTH)
    email = Scripted("email", Busy("away"))
    delivery = notices.delivery(email, reach=reach)
    assert [await delivery.deliver_one(), await delivery.deliver_one()] == [True, False], "the report, tried in vain"
    due = max(row["due_at"] for row in await notices.records())
    move(notices, due)
    assert [await delivery.deliver_one() for _ in range(3)] == [True, True, False]
    titles = sorted(notice.title for notice in email.sent)
    assert titles == ["The report is ready: your model got better", "Your digest: 2 things happened"]
    assert {state for _, _, state in await states(notices)} == {"delivered"}
    assert len(await notices.told(NoticeDelivered)) == 3


async def test_a_digest_that_is_not_taken_is_tried_again_as_a_whole(notices: Notices) -> None:
    await named(notices, channels=("email",), choices=DIGEST)
    await notices.owe(facts.succeeded(), facts.failed(job_id="ftjob-2"), channels=BOTH)
    email = Scripted("email", Busy("away"))
    move(notices, max(row["due_at"] for row in await notices.records()))
    delivery = notices.delivery(email, reach=reach)
    assert [await delivery.deliver_one(), await delivery.deliver_one()] == [True, False]
    notices.clock.moves(11)
    assert [await delivery.deliver_one(), await delivery.deliver_one()] == [True, False]
    assert [notice.title for notice in email.sent] == ["Your digest: 2 things happened"]
    assert [each.tries for each in await notices.told(NoticeDelivered)] == [2, 2]


async def test_what_one_channel_does_not_take_is_told_by_the_other_even_if_it_was_turned_off_there(
    notices: Notices,
) -> None:
    off = tuple(Choice(about=about, channel="email", when="off") for about in ("finished", "failed"))
    await named(notices, choices=off)
    await notices.owe(facts.succeeded(), channels=BOTH)
    slack, email = Scripted("slack", Rejected("Slack refused.")), Scripted("email")
    assert await notices.delivery(slack, channels=BOTH).deliver_one()
    assert await notices.delivery(email, channels=BOTH, reach=reach).deliver_one()
    [told] = email.sent
    assert told.lead.endswith("(This comes by email because slack did not take it.)")
    assert [each.channel for each in await notices.told(NoticeFailed)] == ["slack"]
    assert [each.channel for each in await notices.told(NoticeDelivered)] == ["email"]


async def test_the_installations_own_channels_stand_in_for_each_other(notices: Notices) -> None:
    await notices.owe(facts.succeeded(), channels=("slack",))
    delivery = notices.delivery(Scripted("slack", *[Busy("Slack answered 503.")] * 3), channels=BOTH)
    while await delivery.deliver_one():
        notices.clock.moves(11)
    assert await states(notices) == [("email", "", "waiting"), ("slack", "", "failed")]


async def test_an_invitation_goes_to_the_member_alone_and_its_secret_into_no_record(notices: Notices) -> None:
    async def found(fact: MemberInvited) -> InvitationRead:
        return InvitationRead(email=f"{fact.member_id}@studio.example", invitation="the-secret", until=notices.clock())

    await named(notices)
    async with notices.database.transaction("acme") as tx:
        await invite(facts.invited(), tx, BOTH, Wake())
    email = Scripted("email", Busy("Greylisted."))
    delivery = notices.delivery(email, invitation=found)
    assert await delivery.deliver_one()
    notices.clock.moves(60)
    assert await delivery.deliver_one()
    assert email.addresses == ["member-ana@studio.example"]
    assert "the-secret" in email.sent[0].text()
    [record] = await notices.records()
    assert (record["state"], "the-secret" in str(record)) == ("delivered", False)
    [told] = await notices.told(NoticeDelivered)
    assert (told.job_id, told.about) == ("member-ana", "invitation:3")


async def test_where_no_mail_is_sent_an_invitation_says_so_at_once(notices: Notices) -> None:
    async with notices.database.transaction("acme") as tx:
        await invite(facts.invited(), tx, ("slack",), Wake())
    [failed] = await notices.told(NoticeFailed)
    assert (failed.about, "sends no mail" in failed.reason) == ("invitation:3", True)


async def test_where_every_channel_already_has_its_record_nothing_is_added(notices: Notices) -> None:
    await notices.owe(facts.succeeded(), channels=BOTH)
    for name in BOTH:
        delivery = notices.delivery(Scripted(name, Rejected("no")), channels=BOTH)
        assert await delivery.deliver_one()
    assert await states(notices) == [("email", "", "failed"), ("slack", "", "failed")]


async def test_somebody_whose_address_is_forgotten_gets_nothing_and_the_record_says_why(notices: Notices) -> None:
    async def forgotten(tenant: str, recipient: str, channel: str) -> str:
        raise NotFound("Nobody knows this recipient's address any more.")

    await named(notices, channels=("email",))
    await notices.owe(facts.succeeded(), channels=BOTH)
    email = Scripted("email")
    assert await notices.delivery(email, reach=forgotten).deliver_one()
    assert email.sent == []
    assert [each.reason for each in await notices.told(NoticeFailed)] == [
        "Nobody knows this recipient's address any more."
    ]


def move(notices: Notices, at: datetime) -> None:
    """Move the clock to just after a time."""
    notices.clock.moves((at - notices.clock()).total_seconds() + 1)
