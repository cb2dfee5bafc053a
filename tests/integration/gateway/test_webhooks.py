"""Webhook endpoints through OpenAI's own client, with the notifier calling a program that listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from contracts.webhooks import DeliverySucceeded, WebhookDisabled, WebhookRemoved, WebhookSet
from libs.testing.platform import World
from services.gateway.domain.webhooks import MOST_ENDPOINTS
from services.notifier.app import build
from services.notifier.settings import Settings
from tests.integration.gateway.conftest import SIGNING_KEY, Gateway, Story, listening, now
from tests.integration.notifier.receiver import Receiver

ENDPOINTS = "/v1/webhook_endpoints"
SUCCEEDED = "fine_tuning.job.succeeded"


@asynccontextmanager
async def both(world: World, folder: Path) -> AsyncIterator[Gateway]:
    """Run a gateway and a notifier that may call this machine."""
    here = {"signing_key": SIGNING_KEY, "webhook_private_networks": True}
    settings = world.settings(Settings, **here)
    assert isinstance(settings, Settings)
    platform = await world.platform("notifier")
    async with listening(world, folder, **here) as gateway, world.service(await build(settings, platform), platform):
        yield gateway


async def test_a_job_that_ends_calls_an_endpoint_that_openais_client_made_and_verifies(
    world: World, tmp_path: Path
) -> None:
    async with both(world, tmp_path) as gateway, Receiver().listening() as receiver:
        client = gateway.openai
        made = await client.webhooks.create(name="ours", url=receiver.url, event_types=[SUCCEEDED])
        tried = await client.webhooks.test(made.id, event_type=SUCCEEDED)
        assert (tried.status_code, tried.success) == (200, True)
        sample = receiver.calls.pop()
        client.webhooks.verify_signature(sample.body, sample.headers, secret=made.signing_secret)

        rotated = await client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
        assert rotated.signing_secret != made.signing_secret
        story = Story(await gateway.submit())
        await _heard(gateway, made.id)
        await gateway.world.tell(story.succeeded())
        [delivered] = await gateway.world.told(DeliverySucceeded)
        [call] = receiver.calls
        for secret in (made.signing_secret, rotated.signing_secret):
            event = client.webhooks.unwrap(call.body, call.headers, secret=secret)
            assert (event.type, event.data.id, event.id) == (SUCCEEDED, story.job_id, delivered.event_id)

        [shown] = (await gateway.http.get(f"{ENDPOINTS}/{made.id}/deliveries")).json()["data"]
        assert (shown["status"], [each["status_code"] for each in shown["attempts"]]) == ("delivered", [200])
        again = await gateway.http.post(f"{ENDPOINTS}/{made.id}/deliveries/{shown['id']}/replay")
        assert again.status_code == 200
        await gateway.world.told(DeliverySucceeded, count=2)
        assert [each.headers["webhook-id"] for each in receiver.calls] == [delivered.event_id] * 2

        foreign = await gateway.http.post(f"{ENDPOINTS}/{made.id}/deliveries/whd-foreign/replay")
        assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")


async def _heard(gateway: Gateway, webhook_id: str) -> None:
    """Wait until the notifier has an endpoint as it is wished now: what it is asked comes after what it was told."""
    told = (await gateway.world.told(WebhookSet, count=2))[-1]
    assert told.webhook_id == webhook_id
    async with asyncio.timeout(60):
        while (info := await gateway.world.js.consumer_info("EVENTS", "notifier")).num_pending or info.num_ack_pending:
            await asyncio.sleep(0.02)


async def test_openais_client_lists_changes_and_removes_endpoints(gateway: Gateway) -> None:
    hooks = gateway.openai.webhooks
    assert SUCCEEDED in (await hooks.event_types.list()).data
    first, second = [
        await hooks.create(name=name, url=f"https://{name}.example/", event_types=[SUCCEEDED]) for name in ("a", "b")
    ]
    assert first.signing_secret.startswith("whsec_")
    assert [each.id async for each in hooks.list(limit=1)] == [second.id, first.id]
    changed = await hooks.update(first.id, name="c", event_types=["fine_tuning.job.failed"])
    assert (changed.name, changed.event_types, changed.url) == ("c", ["fine_tuning.job.failed"], "https://a.example/")
    found = (await gateway.http.get(f"{ENDPOINTS}/{first.id}")).json()
    assert "signing_secret" not in found
    assert first.signing_secret not in str(await gateway.world.all_told(WebhookSet))
    assert (await hooks.delete(first.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await hooks.retrieve(first.id)
    assert [each.webhook_id for each in await gateway.world.told(WebhookRemoved)] == [first.id]


async def test_a_repeated_wish_makes_one_endpoint_and_shows_its_secret_again(gateway: Gateway) -> None:
    wish = {"name": "ours", "url": "https://hooks.example/", "event_types": [SUCCEEDED]}
    answers = [(await gateway.http.post(ENDPOINTS, json=wish, headers={"Idempotency-Key": "k"})) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["signing_secret"]
    async with gateway.platform.db.transaction("studio") as tx:
        kept = await tx.fetchval("SELECT convert_from(answer, 'utf8') FROM gateway.idempotency")
    assert answers[0].json()["signing_secret"] not in kept


async def test_an_endpoint_shows_that_it_was_disabled_unless_it_was_changed_since(gateway: Gateway) -> None:
    made = await gateway.openai.webhooks.create(name="a", url="https://a.example/", event_types=[SUCCEEDED])
    [told] = await gateway.world.told(WebhookSet)

    def disabled(version: int, at: int) -> WebhookDisabled:
        return WebhookDisabled(
            tenant="studio", at=now(), version=at, webhook_id=made.id, set_version=version, reason="Nothing arrived."
        )

    await gateway.world.tell(disabled(told.version, 1))
    shown = await gateway.until(f"{ENDPOINTS}/{made.id}", lambda found: not found["woodshed"]["enabled"])
    assert shown["woodshed"]["disabled_reason"] == "Nothing arrived."
    enabled = (await gateway.http.post(f"{ENDPOINTS}/{made.id}", json={"enabled": True})).json()
    assert (enabled["woodshed"]["enabled"], enabled["woodshed"]["disabled_reason"]) == (True, None)
    await gateway.world.tell(disabled(told.version, 2))
    story = Story(await gateway.submit())
    await gateway.world.tell(story.queued())
    await gateway.until(f"/v1/fine_tuning/jobs/{story.job_id}", lambda job: job["status"] == "queued")
    assert (await gateway.http.get(f"{ENDPOINTS}/{made.id}")).json()["woodshed"]["enabled"]


async def test_what_cannot_be_called_is_refused_with_its_field(gateway: Gateway) -> None:
    wish = {"name": "a", "url": "https://a.example/", "event_types": [SUCCEEDED]}
    for change, field in (({"url": "https://127.0.0.1/"}, "url"), ({"event_types": ["batch.failed"]}, "event_types")):
        answer = await gateway.http.post(ENDPOINTS, json=wish | change)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    for _ in range(MOST_ENDPOINTS):
        assert (await gateway.http.post(ENDPOINTS, json=wish)).status_code == 200
    assert (await gateway.http.post(ENDPOINTS, json=wish)).json()["code"] == "too_many_endpoints"


async def test_an_installation_without_a_signing_key_says_so(world: World, tmp_path: Path) -> None:
    async with listening(world, tmp_path, signing_key="") as gateway:
        wish = {"name": "a", "url": "https://a.example/", "event_types": [SUCCEEDED]}
        answer = await gateway.http.post(ENDPOINTS, json=wish)
    assert (answer.status_code, answer.json()["code"]) == (409, "webhooks_off")
