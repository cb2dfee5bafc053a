"""What can be credentials, and where an answer may go."""

import base64
import json
from datetime import UTC, datetime

import pytest

from contracts.base import new_id
from libs.bus.issuing import Issuer, read
from libs.bus.permissions import outsider
from services.gateway.domain.credentials import looks_right, may_be_answered

AT = datetime(2026, 11, 21, tzinfo=UTC)
REQUEST = {"nats": {"server_id": {"id": "N1"}, "user_nkey": "U1", "connect_opts": {"user": "events-1", "pass": "s"}}}


def part(claims: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def claims_of(token: bytes | str) -> dict[str, object]:
    body = (token.decode() if isinstance(token, bytes) else token).split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "==")))


@pytest.mark.parametrize(
    "user", ["", "gateway", "events-", "events-" + "0" * 23, "events-" + "0" * 23 + "\0", "x" * 999]
)
def test_what_cannot_be_credentials_is_not_looked_up(user: str) -> None:
    assert not looks_right(user, "p" * 43)
    assert looks_right(new_id("events"), "p" * 43)
    assert not looks_right(new_id("events"), "")
    assert not looks_right(new_id("events"), "p" * 5000)


@pytest.mark.parametrize(
    "reply", ["", "evt.rival.job.x.queued", "_INBOX.events-2.x", "_INBOX.events-1", "_INBOX.events-11.x"]
)
def test_an_answer_goes_nowhere_but_to_who_asked(reply: str) -> None:
    assert not may_be_answered("events-1", reply)
    assert may_be_answered("events-1", "_INBOX.events-1.abc")


def test_the_broker_is_told_who_comes_in_what_they_may_and_until_when() -> None:
    issuer = Issuer("a key")
    asked = read(f"{part({})}.{part(REQUEST)}.sig".encode())
    said = claims_of(issuer.answer(asked, outsider("studio", "events-1"), AT, AT))
    assert (said["iss"], said["sub"], said["aud"]) == (issuer.public, "U1", "N1")
    assert issuer.public == Issuer("a key").public != Issuer("another").public
    assert issuer.public.startswith("A")
    user = claims_of(said["nats"]["jwt"])  # type: ignore[index]
    assert (user["sub"], user["aud"], user["exp"]) == ("U1", "$G", int(AT.timestamp()))
    assert user["nats"]["pub"] == {"allow": ["missed.studio.events-1"]}  # type: ignore[index]
    refused = claims_of(issuer.answer(asked, None, None, AT))["nats"]
    assert "jwt" not in refused  # type: ignore[operator]
    assert refused["error"]  # type: ignore[index]
