"""Webhooks on a real database and to a program that listens: what is sent, how often, and where nothing is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from contracts.webhooks import DeliveryFailed, DeliverySucceeded, WebhookDisabled, WebhookReplayAsked, WebhookSet
from libs.bus.forgetting import KEPT
from libs.signing import webhook_secret
from libs.testing.certificates import certified
from libs.waking import Wake
from services.notifier.calling import MOST_BYTES, Caller
from services.notifier.domain.webhooks import WAITS, Schedule
from services.notifier.forgetting import DeliveryForgetter
from services.notifier.handlers import owe_deliveries, send_again, set_endpoint
from services.notifier.posting import LEASE, Poster
from tests.integration.notifier.house import Clock, Notices
from tests.integration.notifier.receiver import ENDLESS, GARBAGE, HANG, Receiver
from tests.unit.notifier import facts

KEY = "a signing key of at least thirty-two characters"
EVENTS = ("fine_tuning.job.succeeded", "fine_tuning.job.failed")
CLIENT = OpenAI(api_key="none", base_url="http://127.0.0.1:9")


class House:
    """The notifier's webhooks, with a clock moved by hand and a schedule without chance."""

    def __init__(self, notices: Notices) -> None:
        self.database = notices.database
        self.told = notices.told
        self.clock = Clock()

    async def wishes(self, url: str, version: int = 1, webhook_id: str = "wh-1", **changes: Any) -> WebhookSet:
        """Somebody makes or changes an endpoint."""
        given: dict[str, Any] = {"tenant": "acme", "at": datetime.now(UTC), "version": version, "events": EVENTS}
        wished = WebhookSet(**(given | {"webhook_id": webhook_id, "url": url} | changes))
        async with self.database.transaction("acme") as tx:
            await set_endpoint(wished, tx, Wake())
        return wished

    async def owes(self, fact: Any) -> None:
        """Something ends."""
        async with self.database.transaction(fact.tenant) as tx:
            await owe_deliveries(fact, tx)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table's rows, the first first."""
        async with self.database.across_tenants() as tx:
            return [dict(row) for row in await tx.fetch(f"SELECT * FROM notifier.{table} ORDER BY 1, 2")]

    def poster(self, **chosen: Any) -> Poster:
        """Return the loop; it may call this machine unless ``chosen`` says otherwise."""
        caller = Caller(**({"private_allowed": True, "seconds": 20.0} | chosen))
        schedule = Schedule(jitter=lambda: 0.5)
        return Poster(self.database, caller, KEY, schedule, poll=0.01, clock=self.clock)

    async def posts(self, poster: Poster) -> int:
        """Make every call that is due; return how many."""
        made = 0
        while due := await poster.take():
            await poster.deliver(due)
            made += 1
        return made


@pytest.fixture
def house(notices: Notices) -> House:
    return House(notices)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        yield listening


async def test_openais_client_verifies_what_arrives_and_the_call_is_on_record(house: House, receiver: Receiver) -> None:
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    await house.owes(facts.succeeded())
    await house.owes(facts.cancelled())
    assert await house.posts(house.poster()) == 1
    [call] = receiver.calls
    event = CLIENT.webhooks.unwrap(call.body, call.headers, secret=webhook_secret(KEY, "wh-1", 1))
    assert (event.type, event.data.id) == ("fine_tuning.job.succeeded", "ftjob-1")
    [delivery], [attempt] = await house.rows("delivery"), await house.rows("attempt")
    assert (delivery["state"], delivery["event_id"], attempt["status_code"]) == ("delivered", event.id, 200)
    assert [each.tries for each in await house.told(DeliverySucceeded)] == [1]


async def test_of_two_wishes_the_later_stands_in_whatever_order_they_come(house: House, receiver: Receiver) -> None:
    await house.wishes(receiver.url, version=2, enabled=False)
    await house.wishes(receiver.url, version=1)
    await house.owes(facts.succeeded())
    assert await house.rows("delivery") == []


async def test_while_two_secrets_hold_a_call_carries_both_signatures(house: House, receiver: Receiver) -> None:
    until = house.clock() + timedelta(hours=24)
    await house.wishes(receiver.url, secret_number=2, previous_until=until, hex_signature=True)
    await house.owes(facts.succeeded())
    await house.posts(house.poster())
    house.clock.moves(25 * 3600)
    await house.owes(facts.failed())
    await house.posts(house.poster())
    both, one = (call.headers["webhook-signature"].split() for call in receiver.calls)
    assert (len(both), len(one)) == (2, 1)
    for number in (1, 2):
        call = receiver.calls[0]
        CLIENT.webhooks.verify_signature(call.body, call.headers, secret=webhook_secret(KEY, "wh-1", number))
    assert len(receiver.calls[0].headers["signature"]) == 64


@pytest.mark.parametrize(
    ("behaviour", "status", "said"),
    [
        (500, 500, "It answered 500."),
        (302, 302, "It answered 302."),
        (ENDLESS, 500, "It answered 500. and so on"),
        (GARBAGE, 0, "The connection failed (RemoteProtocolError)."),
        (HANG, 0, "No whole answer came within 0.5 s."),
    ],
    ids=["fails", "redirects", "never ends", "talks nonsense", "hangs"],
)
async def test_what_is_not_taken_is_tried_again_when_its_time_has_come(
    house: House, receiver: Receiver, behaviour: Any, status: int, said: str
) -> None:
    receiver.behaviour = [(302, {"location": f"{receiver.url}/elsewhere"}) if behaviour == 302 else behaviour]
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    patience = 0.5 if behaviour == HANG else 20.0
    assert await house.posts(house.poster(seconds=patience)) == 1
    house.clock.moves(4.9)
    assert await house.posts(house.poster()) == 0
    house.clock.moves(0.2)
    assert await house.posts(house.poster()) == 1
    first, second = await house.rows("attempt")
    assert (first["status_code"], second["status_code"]) == (status, 200)
    assert first["said"].startswith(said)
    assert len(first["said"]) < MOST_BYTES
    assert [call.path for call in receiver.calls] == ["/woodshed", "/woodshed"], "no redirect is followed"
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1


async def test_a_wait_the_receiver_asks_for_is_kept(house: House, receiver: Receiver) -> None:
    receiver.behaviour = [(429, {"retry-after": "600"})]
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    await house.posts(house.poster())
    house.clock.moves(599)
    assert await house.posts(house.poster()) == 0
    house.clock.moves(2)
    assert await house.posts(house.poster()) == 1


async def test_after_three_days_it_is_given_up_and_an_endpoint_where_nothing_arrived_is_disabled(
    house: House, receiver: Receiver
) -> None:
    receiver.behaviour = [500] * (len(WAITS) + 1)
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    for wait in (0.0, *WAITS):
        house.clock.moves(wait + 0.1)
        assert await house.posts(house.poster()) == 1
    [failed], [disabled] = await house.told(DeliveryFailed), await house.told(WebhookDisabled)
    assert (failed.tries, failed.reason) == (10, "It answered 500. Given up after 10 tries.")
    assert (disabled.webhook_id, disabled.set_version) == ("wh-1", 1)
    await house.owes(facts.failed())
    assert len(await house.rows("delivery")) == 1, "what happens while it is disabled is not owed"
    await house.wishes(receiver.url, version=2)
    await _replay(house, failed.delivery_id)
    house.clock.moves(1)
    assert await house.posts(house.poster()) == 1
    assert [row["state"] for row in await house.rows("delivery")] == ["delivered"]
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert len(await house.rows("attempt")) == 11


async def test_an_endpoint_where_something_else_arrives_meanwhile_stays_enabled(
    house: House, receiver: Receiver
) -> None:
    receiver.behaviour = [500] * len(WAITS)
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    for wait in (0.0, *WAITS[:-1]):
        house.clock.moves(wait + 0.1)
        await house.posts(house.poster())
    await house.owes(facts.failed())
    assert await house.posts(house.poster()) == 1
    receiver.behaviour = [500]
    house.clock.moves(WAITS[-1] + 0.1)
    assert await house.posts(house.poster()) == 1
    assert len(await house.told(DeliveryFailed)) == 1
    assert await house.told(WebhookDisabled) == []


async def test_one_that_says_it_is_gone_is_not_called_again(house: House, receiver: Receiver) -> None:
    receiver.behaviour = [410]
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    await house.owes(facts.failed())
    assert await house.posts(house.poster()) == 1
    assert [each.reason for each in await house.told(WebhookDisabled)] == ["It answered 410: it wants no more."]


async def test_a_notifier_that_dies_while_calling_loses_nothing(house: House, receiver: Receiver) -> None:
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    assert await house.poster().take()
    assert await house.posts(house.poster()) == 0, "the lease of the dead one holds"
    house.clock.moves(LEASE.total_seconds() + 1)
    assert await house.posts(house.poster()) == 1
    assert [row["state"] for row in await house.rows("delivery")] == ["delivered"]


async def test_a_call_that_comes_back_after_its_lease_writes_nothing_over(house: House, receiver: Receiver) -> None:
    receiver.behaviour = [200, 500]
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    late = await house.poster().take()
    assert late
    house.clock.moves(LEASE.total_seconds() + 1)
    assert await house.posts(house.poster()) == 1
    await house.poster().deliver(late)
    assert [row["state"] for row in await house.rows("delivery")] == ["delivered"]
    assert len(await house.told(DeliverySucceeded)) == 1


async def test_an_endpoint_that_hangs_holds_up_no_other(house: House, receiver: Receiver) -> None:
    async with Receiver(*[HANG] * 50).listening() as stuck:
        await house.wishes(stuck.url, webhook_id="wh-stuck")
        for number in range(20):
            await house.owes(facts.succeeded(version=number + 1))
        await house.wishes(receiver.url)
        await house.owes(facts.failed())
        loop = asyncio.create_task(house.poster().run())
        async with asyncio.timeout(60):
            await receiver.called.wait()
        loop.cancel()
        assert stuck.connections <= 1, "one call at a time"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.8", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_inside_is_not_called(house: House, receiver: Receiver, address: str) -> None:
    async def lies(host: str, port: int) -> list[str]:
        return ["93.184.216.34", address]

    await house.wishes(f"https://hooks.example:{receiver.port}/")
    await house.owes(facts.succeeded())
    await house.posts(house.poster(private_allowed=False, resolve=lies))
    [attempt] = await house.rows("attempt")
    assert (attempt["status_code"], receiver.connections) == (0, 0)
    assert f"hooks.example leads to {address}, which is not called" in attempt["said"]


async def test_the_judged_address_is_the_one_that_is_connected_to(house: House, tmp_path: Path) -> None:
    asked: list[str] = []

    async def rebinds(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async with AsyncExitStack() as open_now:
        receiver = await open_now.enter_async_context(Receiver(tls=certified(tmp_path, "hooks.example")).listening())
        await house.wishes(f"https://hooks.example:{receiver.port}/path?query=1")
        await house.owes(facts.succeeded())
        await house.posts(house.poster(resolve=rebinds, trusted=str(tmp_path / "cert.pem")))
    assert (asked, receiver.names) == (["hooks.example"], ["hooks.example"])
    [call] = receiver.calls
    assert (call.path, call.headers["host"]) == ("/path?query=1", f"hooks.example:{receiver.port}")


async def test_a_certificate_of_somebody_else_is_refused(house: House, tmp_path: Path) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with Receiver(tls=certified(tmp_path, "somebody.example")).listening() as receiver:
        await house.wishes(f"https://hooks.example:{receiver.port}/")
        await house.owes(facts.succeeded())
        await house.posts(house.poster(resolve=resolve, trusted=str(tmp_path / "cert.pem")))
    [attempt] = await house.rows("attempt")
    assert "CERTIFICATE_VERIFY_FAILED" in attempt["said"]
    assert receiver.calls == []


async def _replay(house: House, delivery_id: str) -> None:
    wish = WebhookReplayAsked(tenant="acme", at=datetime.now(UTC), webhook_id="wh-1", delivery_id=delivery_id)
    async with house.database.transaction("acme") as tx:
        await send_again(wish, tx, Wake())


async def test_what_ended_is_forgotten_after_ninety_days_and_what_waits_never(house: House, receiver: Receiver) -> None:
    await house.wishes(receiver.url)
    await house.owes(facts.succeeded())
    assert await house.posts(house.poster()) == 1
    await house.owes(facts.succeeded(job_id="ftjob-later"))
    forgetter = DeliveryForgetter(house.database)
    assert await forgetter.forget(house.clock.at + KEPT - timedelta(days=1)) == 0
    assert await forgetter.forget(house.clock.at + KEPT + timedelta(days=1)) == 1
    assert await house.posts(house.poster()) == 1
    async with house.database.across_tenants() as tx:
        assert len(await tx.fetch("SELECT FROM notifier.attempt")) == 1
