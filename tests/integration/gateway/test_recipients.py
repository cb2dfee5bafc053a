"""Naming who is told over the API, and the letter that then comes to the address only the gateway knows."""

import re
from pathlib import Path
from typing import Any

import httpx

from contracts.notices import NoticeDelivered, RecipientRemoved, RecipientSet
from contracts.people import MemberInvited
from libs.testing.platform import World
from services.notifier.app import build
from services.notifier.settings import Settings
from tests.integration.gateway.conftest import Gateway, Story, listening
from tests.integration.notifier.mail_server import MailServer
from tests.integration.notifier.slack_server import FakeSlack

PASSWORD = "five words are quite enough"
RECIPIENTS = "/v1/notice_recipients"
ADA: dict[str, Any] = {
    "name": "Ada", "email": "ada@studio.example", "slack": True, "choices": {"cancelled": {"email": "off"}},
}  # fmt: skip


async def test_somebody_named_gets_the_letter_that_slack_did_not_take(world: World, tmp_path: Path) -> None:
    refused = (404, "no_service", dict[str, str]())
    async with MailServer().listening() as mail, FakeSlack(*[refused] * 9).listening() as slack:
        settings = world.settings(
            Settings, slack_webhook=slack.webhook, smtp_host="127.0.0.1", smtp_port=mail.port, smtp_security="none",
            mail_to="operator@host.example",
        )  # fmt: skip
        assert isinstance(settings, Settings)
        platform = await world.platform("notifier")
        async with listening(world, tmp_path) as gateway:
            made = await gateway.http.post(RECIPIENTS, json=ADA | {"choices": {"finished": {"email": "off"}}})
            assert made.status_code == 200, made.text
            await world.told(RecipientSet)
            async with world.service(await build(settings, platform), platform):
                story = Story(await gateway.submit())
                await world.tell(story.succeeded())
                [delivered] = await world.told(NoticeDelivered)
    assert delivered.channel == "email"
    assert mail.recipients == ["ada@studio.example"]
    [letter] = mail.letters
    assert letter["To"] == "ada@studio.example"


async def test_a_mailed_invitation_is_seen_by_the_member_alone_and_sets_their_password(
    world: World, tmp_path: Path
) -> None:
    async with MailServer().listening() as mail:
        settings = world.settings(
            Settings, smtp_host="127.0.0.1", smtp_port=mail.port, smtp_security="none", mail_to="operator@host.example"
        )
        assert isinstance(settings, Settings)
        platform = await world.platform("notifier")
        async with listening(world, tmp_path) as gateway, world.service(await build(settings, platform), platform):
            ana = {"name": "Ana", "role": "analyst", "email": "ana@studio.example"}
            member = (await gateway.http.post("/v1/members", json=ana)).json()
            place = f"/v1/members/{member['id']}"
            made = (await gateway.http.post(f"{place}/invitation", json={"send": True})).json()
            assert made["invitation"] is None
            shown = await gateway.until(place, lambda found: found["invitation_mail"] == "delivered", 30)
            [letter] = mail.letters
            text = letter.get_body(("plain",)).get_content()
            path, _, invitation = text.split("Set your password: ")[1].split()[0].rpartition("#")
            assert invitation == text.split("Invitation: ")[1].split()[0]
            async with httpx.AsyncClient(base_url=gateway.url) as browser:
                await _use_on_the_page(browser, "/" + path.rsplit("/", 1)[1], invitation)
                assert (await browser.get("/v1/me")).json()["member"] == member["id"]
            assert (await gateway.http.get(place)).json()["name"] == "Ana <b>Ruiz"
    assert mail.recipients == ["ana@studio.example"]
    assert shown["signs_in"] is False
    assert invitation not in str(await world.all_told(MemberInvited))


async def _use_on_the_page(browser: httpx.AsyncClient, path: str, invitation: str) -> None:
    """Set a password and sign in as a browser without scripts does, after all that a person can get wrong."""
    page = await browser.get(path)
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    for asset in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        assert (await browser.get(f"/{asset}")).status_code == 200
    right = {"invitation": invitation, "password": PASSWORD, "again": PASSWORD, "name": "Ana <b>Ruiz"}
    elsewhere = {"Origin": "https://evil.example"}
    for change, headers, status, word in (
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403, "Another web site"),
        ({}, elsewhere, 403, "Another web site"),
        ({"again": "five words are quite enouhg"}, {}, 400, "not the same"),
        ({"password": "short", "again": "short"}, {}, 422, "12 to 200 characters"),
        ({"name": "A" * 101}, {}, 400, "at most 100"),
        ({"invitation": "made up, and long enough"}, {}, 401, "Ask an owner for another one"),
    ):
        wrong = await browser.post(path, data=right | change, headers=headers)
        assert (wrong.status_code, word in wrong.text, wrong.cookies) == (status, True, {}), wrong.text
        assert f'value="{(right | change)["invitation"]}"' in wrong.text, "nobody writes it in again"
        assert PASSWORD not in wrong.text
    done = await browser.post(path, data=right, headers={"Origin": str(browser.base_url).rstrip("/")})
    assert (done.status_code, "Ana &lt;b&gt;Ruiz, your password is set" in done.text) == (200, True), done.text
    assert "HttpOnly" in done.headers["set-cookie"]
    assert invitation not in done.text
    again = await browser.post(path, data=right)
    assert (again.status_code, "was used" in again.text) == (401, True)


async def test_somebodys_own_slack_gets_the_notice_where_the_installation_has_none(
    world: World, tmp_path: Path
) -> None:
    async with FakeSlack().listening() as slack:
        settings = world.settings(Settings, webhook_private_networks=True)
        assert isinstance(settings, Settings)
        platform = await world.platform("notifier")
        async with listening(world, tmp_path, webhook_private_networks=True) as gateway:
            made = (await gateway.http.post(RECIPIENTS, json={"name": "Ada", "slack_address": slack.webhook})).json()
            shown = (await gateway.http.get(f"{RECIPIENTS}/{made['id']}")).text
            kept = await gateway.http.post(f"{RECIPIENTS}/{made['id']}", json={"name": "Ada L."})
            assert ("…cret" in shown, "secret" in shown, "…cret" in kept.text) == (True, False, True)
            told = await world.told(RecipientSet, count=2)
            assert slack.webhook.rpartition("/")[2] not in str(told)
            async with gateway.platform.db.across_tenants() as tx:
                [lies] = await tx.fetch("SELECT * FROM gateway.recipient")
            assert lies["slack_address"].startswith("sealed:")
            async with world.service(await build(settings, platform), platform):
                story = Story(await gateway.submit())
                await world.tell(story.succeeded())
                [delivered] = await world.told(NoticeDelivered)
            nobody = await gateway.http.post(f"{RECIPIENTS}/{made['id']}", json={"name": "Ada", "slack_address": None})
            assert (nobody.status_code, nobody.json()["field"]) == (422, "email")
    assert (delivered.channel, len(slack.accepted)) == ("slack", 1)


async def test_whoever_is_named_can_be_read_changed_and_forgotten(gateway: Gateway) -> None:
    made = (await gateway.http.post(RECIPIENTS, json=ADA)).json()
    assert (made["email"], made["slack"], made["choices"]) == ("ada@studio.example", True, ADA["choices"])
    assert (await gateway.http.get(f"{RECIPIENTS}/{made['id']}")).json() == made
    assert (await gateway.http.get(RECIPIENTS)).json()["data"] == [made]
    wish = {"name": "Ada", "slack": True, "quiet_hours": {"begin": "22:00", "end": "07:00"}}
    changed = (await gateway.http.post(f"{RECIPIENTS}/{made['id']}", json=wish)).json()
    assert (changed["email"], changed["choices"], changed["quiet_hours"]) == (None, {}, wish["quiet_hours"])
    told = await gateway.world.told(RecipientSet, count=2)
    assert [each.channels for each in told] == [("email", "slack"), ("slack",)]
    assert (await gateway.http.delete(f"{RECIPIENTS}/{made['id']}")).json()["deleted"]
    assert len(await gateway.world.told(RecipientRemoved)) == 1
    async with gateway.platform.db.across_tenants() as tx:
        assert await tx.fetchval("SELECT count(*) FROM gateway.recipient") == 0


async def test_a_wish_that_reaches_nobody_is_refused(gateway: Gateway) -> None:
    answer = await gateway.http.post(RECIPIENTS, json={"name": "Nobody"})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "bad_recipient", "email")
