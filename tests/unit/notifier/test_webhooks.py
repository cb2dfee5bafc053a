"""What is sent to a webhook, how it is signed, when it is tried again."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from contracts.base import Event
from contracts.webhooks import EVENT_TYPES
from libs.signing import derived, webhook_secret
from services.notifier.domain.webhooks import TYPES, WAITS, Schedule, headers, judged, message_of, sample
from tests.unit.notifier import facts

KEY = "a signing key of at least thirty-two characters"
ONE, TWO = (webhook_secret(KEY, "wh-1", number) for number in (1, 2))
CLIENT = OpenAI(api_key="none", base_url="http://127.0.0.1:9")


def test_the_body_is_openais_event_with_ids_only() -> None:
    fact = facts.succeeded()
    message = message_of(fact)
    assert json.loads(message.body) == {
        "id": message.event_id,
        "object": "event",
        "type": "fine_tuning.job.succeeded",
        "created_at": int(fact.at.timestamp()),
        "data": {"id": fact.job_id},
    }


def test_a_fact_told_twice_is_one_event_and_a_later_one_another() -> None:
    fact = facts.succeeded()
    later = msgspec.structs.replace(fact, version=fact.version + 1)
    assert message_of(fact) == message_of(fact)
    assert message_of(fact).event_id != message_of(later).event_id


def test_every_event_a_person_can_choose_has_a_fact_behind_it() -> None:
    assert set(TYPES.values()) == set(EVENT_TYPES)
    assert all(issubclass(kind, Event) for kind in TYPES)


def test_openais_own_client_takes_the_signature_and_reads_the_event() -> None:
    message = message_of(facts.failed())
    given = headers(message.event_id, message.body, datetime.now(UTC), [ONE], hex_signature=False)
    event = CLIENT.webhooks.unwrap(message.body, given, secret=ONE)
    assert (event.type, event.data.id) == ("fine_tuning.job.failed", "ftjob-1")


def test_while_two_secrets_hold_either_verifies_and_no_third() -> None:
    message = sample("fine_tuning.job.succeeded", "evt_1", datetime.now(UTC))
    given = headers("evt_1", message.body, datetime.now(UTC), [TWO, ONE], hex_signature=False)
    for secret in (ONE, TWO):
        CLIENT.webhooks.verify_signature(message.body, given, secret=secret)
    with pytest.raises(InvalidWebhookSignatureError):
        CLIENT.webhooks.verify_signature(message.body, given, secret=webhook_secret(KEY, "wh-2", 1))


@pytest.mark.parametrize("change", ["body", "id", "time", "old"])
def test_a_forged_or_replayed_webhook_is_refused_by_openais_client(change: str) -> None:
    message = message_of(facts.succeeded())
    at = datetime.now(UTC) - (timedelta(minutes=6) if change == "old" else timedelta())
    given = headers(message.event_id, message.body, at, [ONE], hex_signature=False)
    body = message.body.replace("ftjob-1", "ftjob-2") if change == "body" else message.body
    if change == "id":
        given["webhook-id"] = "evt_other"
    if change == "time":
        given["webhook-timestamp"] = str(int(given["webhook-timestamp"]) + 1)
    with pytest.raises(InvalidWebhookSignatureError):
        CLIENT.webhooks.verify_signature(body, given, secret=ONE)


def test_the_plain_header_is_what_laravels_client_compares() -> None:
    given = headers("evt_1", "{}", datetime.now(UTC), [TWO, ONE], hex_signature=True)
    assert given["signature"] == hmac.new(TWO.encode(), b"{}", hashlib.sha256).hexdigest()
    assert "signature" not in headers("evt_1", "{}", datetime.now(UTC), [TWO], hex_signature=False)


def test_secrets_are_of_the_standards_size_and_all_different() -> None:
    secrets = [webhook_secret(KEY, name, number) for name in ("wh-1", "wh-2") for number in (1, 2)]
    assert len(set(secrets)) == 4
    assert all(24 <= len(base64.b64decode(secret.removeprefix("whsec_"))) <= 64 for secret in secrets)
    assert derived(KEY, "link") != derived(KEY, "webhook")


def test_tries_go_on_for_three_days_and_then_end() -> None:
    schedule = Schedule(jitter=lambda: 0.5)
    waits = [schedule.wait(tried) for tried in range(1, len(WAITS) + 2)]
    assert waits == [*WAITS, None]
    assert waits[:-1] == sorted(WAITS)
    assert 71 * 3600 < sum(WAITS) <= 72 * 3600


def test_waits_are_spread_by_a_tenth_and_no_more() -> None:
    assert Schedule(jitter=lambda: 0.0).wait(2) == pytest.approx(270)
    assert Schedule(jitter=lambda: 1.0).wait(2) == pytest.approx(330)


@pytest.mark.parametrize(("asked", "waited"), [(60.0, 60.0), (1.0, 5.0), (10**9, 86_400.0)])
def test_a_wait_the_receiver_asks_for_is_kept_up_to_a_day(asked: float, waited: float) -> None:
    assert Schedule(jitter=lambda: 0.5).wait(1, asked) == waited


@pytest.mark.parametrize(
    ("status", "meant"),
    [(200, "taken"), (204, "taken"), (302, "again"), (400, "again"), (404, "again"), (410, "gone"), (429, "again"),
     (500, "again"), (0, "again"), (101, "again")],
)  # fmt: skip
def test_only_2xx_takes_an_event_and_only_410_ends_them(status: int, meant: str) -> None:
    assert judged(status) == meant
