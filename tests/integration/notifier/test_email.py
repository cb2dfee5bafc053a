"""Mail, spoken against a real SMTP server."""

from pathlib import Path
from typing import Any

import pytest

from libs.errors import Busy, Rejected
from services.notifier.channels.email import Email
from services.notifier.domain.notice import notice_of
from services.notifier.settings import Settings
from tests.integration.notifier.house import HERE
from tests.integration.notifier.mail_server import PASSWORD, USER, MailServer, protected
from tests.unit.notifier import facts

NOTICE = notice_of(facts.reported(headline="<b>31 %</b> better = good"), HERE)


def email(server: MailServer, **changes: Any) -> Email:
    given = {"smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_security": "none"}
    given |= {"mail_from": "Woodshed <woodshed@acme.example>", "mail_to": "ann@acme.example, bob@acme.example"}
    return Email(Settings(**(given | changes)))


async def test_everybody_named_gets_one_letter_with_text_and_html() -> None:
    async with MailServer().listening() as server:
        await email(server).send(NOTICE, "notice-1")
    [letter] = server.letters
    assert server.recipients == ["ann@acme.example", "bob@acme.example"]
    assert letter["Subject"] == "Woodshed: The report is ready: your model got better"
    assert letter["Message-ID"] == "<notice-1@woodshed>"
    text, html = (part.get_content() for part in letter.iter_parts())  # type: ignore[attr-defined]
    assert "<b>31 %</b> better = good" in text
    assert "&lt;b&gt;31 %&lt;/b&gt; better = good" in html
    assert 'href="https://woodshed.example/v1/fine_tuning/jobs/ftjob-1/report.html"' in html


async def test_a_protected_server_gets_the_letter_encrypted_after_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MailServer().listening(**protected(tmp_path)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        secured = {"smtp_security": "starttls", "smtp_user": USER, "smtp_password": PASSWORD}
        await email(server, **secured).send(NOTICE, "notice-1")
    assert server.encrypted == [True]


async def test_a_wrong_password_is_refused_for_good_and_not_repeated_in_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MailServer().listening(**protected(tmp_path)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        secured = {"smtp_security": "starttls", "smtp_user": USER, "smtp_password": "open sesame"}
        with pytest.raises(Rejected, match="WOODSHED_SMTP") as refused:
            await email(server, **secured).send(NOTICE, "notice-1")
    assert "sesame" not in refused.value.message


async def test_a_certificate_nobody_vouches_for_gets_no_letter(tmp_path: Path) -> None:
    async with MailServer().listening(**protected(tmp_path)) as server:
        with pytest.raises(Busy, match="SSLCertVerificationError"):
            await email(server, smtp_security="starttls").send(NOTICE, "notice-1")
    assert server.letters == []


async def test_where_protection_is_asked_for_nothing_goes_in_the_clear() -> None:
    async with MailServer().listening() as server:
        with pytest.raises(Rejected, match="cannot do what the settings ask for"):
            await email(server, smtp_security="starttls").send(NOTICE, "notice-1")
    assert server.letters == []


@pytest.mark.parametrize("where", ["DATA", "both"])
@pytest.mark.parametrize(("reply", "kind"), [("451 try again later", Busy), ("550 we know no such user", Rejected)])
async def test_a_passing_refusal_is_tried_again_and_a_final_one_is_not(
    where: str, reply: str, kind: type[Exception]
) -> None:
    refused = {"DATA": reply} if where == "DATA" else {"ann@acme.example": reply, "bob@acme.example": reply}
    async with MailServer(refused).listening() as server:
        with pytest.raises(kind, match=reply[4:]):
            await email(server).send(NOTICE, "notice-1")


async def test_one_unknown_address_keeps_the_letter_from_nobody_else() -> None:
    async with MailServer({"ann@acme.example": "550 no such user"}).listening() as server:
        await email(server).send(NOTICE, "notice-1")
    assert server.recipients == ["bob@acme.example"]


async def test_a_mail_server_that_is_away_is_tried_again() -> None:
    async with MailServer().listening() as server:
        pass
    with pytest.raises(Busy, match="could not be reached"):
        await email(server).send(NOTICE, "notice-1")
