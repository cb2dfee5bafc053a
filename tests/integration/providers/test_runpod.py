"""RunPod over HTTP, with everything its API may do to us."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.errors import Busy, Rejected
from services.trainer.providers.pools import RunPodPool
from services.trainer.providers.provider import Found, Need, Spec
from services.trainer.providers.runpod import RunPod
from tests.integration.providers.api import NEVER, TOKEN, Answer, Fault
from tests.integration.providers.runpod_api import FakeRunPod

KEY = "ws-0a1b2c3d-rented-11223344"
SPEC = Spec(owner="0a1b2c3d", pool="rented", kind="NVIDIA RTX A6000")
LOST = Answer(502, {"title": "Bad Gateway", "status": 502, "detail": "upstream"})


def pool(url: str, **changes: object) -> RunPodPool:
    given: dict[str, object] = {
        "gpus": ("NVIDIA GeForce RTX 4090", "NVIDIA RTX A6000", "NVIDIA L40S"),
        "image": "woodshed/runner:1",
        "price": 1.0,
        "environment": {"WOODSHED_NATS_PASSWORD": "{{ RUNPOD_SECRET_woodshed_nats }}"},
        "server": url,
    }
    return RunPodPool(**(given | changes))  # type: ignore[arg-type]


@pytest.fixture
async def fake() -> AsyncIterator[FakeRunPod]:
    fake = FakeRunPod()
    async with fake.listening():
        yield fake


@pytest.fixture
def runpod(fake: FakeRunPod) -> RunPod:
    return RunPod(pool(fake.url), TOKEN, deadline=2.0)


async def test_offers_are_of_the_pools_kinds_to_be_had_cheapest_first(fake: FakeRunPod, runpod: RunPod) -> None:
    offers = await runpod.offers(Need())
    assert [(each.kind, each.price) for each in offers] == [
        ("NVIDIA RTX A6000", 0.40),
        ("NVIDIA GeForce RTX 4090", 0.44),
    ]
    assert [each.price for each in await RunPod(pool(fake.url, price=0.85), TOKEN).offers(Need(devices=2))] == [0.80]
    assert await RunPod(pool(fake.url, price=0.1), TOKEN).offers(Need()) == []


async def test_a_pod_is_made_as_the_api_wants_it_and_carries_no_password(fake: FakeRunPod, runpod: RunPod) -> None:
    handle = await runpod.launch(SPEC, KEY)
    made = fake.pods[handle]
    assert (made["name"], made["gpu"]) == (KEY, {"id": SPEC.kind, "count": 1})
    assert made["env"]["WOODSHED_RUNNER_NAME"] == KEY
    assert made["env"]["WOODSHED_NATS_PASSWORD"] == "{{ RUNPOD_SECRET_woodshed_nats }}"
    assert "exec python -m services.trainer.runner" in made["args"]


async def test_asking_again_makes_no_second_pod(fake: FakeRunPod, runpod: RunPod) -> None:
    assert await runpod.launch(SPEC, KEY) == await runpod.launch(SPEC, KEY)
    assert len(fake.pods) == 1


@pytest.mark.parametrize("lost", [LOST, NEVER], ids=["502", "no answer"])
async def test_a_pod_made_behind_an_error_is_found_by_its_name(fake: FakeRunPod, runpod: RunPod, lost: Answer) -> None:
    fake.faults = [Fault("POST", lost, after=True)]
    assert await runpod.launch(SPEC, KEY) == "pod0001"
    assert fake.names == [KEY]
    assert fake.faults == []


async def test_an_error_that_made_nothing_is_busy_and_then_works(fake: FakeRunPod, runpod: RunPod) -> None:
    fake.faults = [Fault("POST", LOST)]
    with pytest.raises(Busy, match="502"):
        await runpod.launch(SPEC, KEY)
    assert await runpod.launch(SPEC, KEY) == "pod0001"


async def test_a_rate_limit_names_the_seconds_to_wait(fake: FakeRunPod, runpod: RunPod) -> None:
    fake.faults = [Fault("GET", Answer(429, {"title": "Too Many Requests"}, {"retry-after": "12"}))]
    with pytest.raises(Busy) as limited:
        await runpod.launch(SPEC, KEY)
    assert limited.value.after == 12
    assert fake.count("POST") == 0


async def test_what_is_refused_is_not_asked_for_again(fake: FakeRunPod) -> None:
    with pytest.raises(Rejected, match="401"):
        await RunPod(pool(fake.url), "wrong").launch(SPEC, KEY)
    with pytest.raises(Rejected, match="validation"):
        await RunPod(pool(fake.url, image=""), TOKEN).launch(SPEC, KEY)


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ("PROVISIONING", "pending"), ("STARTING", "pending"), ("RUNNING", "running"), ("EXITED", "exited"),
        ("ERROR", "exited"), ("TERMINATED", "gone"), ("HIBERNATED", "unknown"),
    ],
)  # fmt: skip
async def test_each_status_has_one_meaning(fake: FakeRunPod, runpod: RunPod, status: str, seen: str) -> None:
    handle = await runpod.launch(SPEC, KEY)
    fake.pods[handle]["status"] = status
    assert await runpod.observe(handle) == seen


@pytest.mark.parametrize(
    "answer",
    [LOST, Answer(429), Answer(403), Answer(200, {"hello": "proxy"}), Answer(200)],
    ids=["502", "429", "403", "another's answer", "nothing"],
)
async def test_no_proper_answer_is_unknown_never_gone(fake: FakeRunPod, runpod: RunPod, answer: Answer) -> None:
    handle = await runpod.launch(SPEC, KEY)
    fake.faults = [Fault("GET", answer)]
    assert await runpod.observe(handle) == "unknown"


async def test_a_provider_that_never_answers_is_unknown_after_the_deadline(fake: FakeRunPod) -> None:
    runpod = RunPod(pool(fake.url), TOKEN, deadline=0.3)
    fake.faults = [Fault("GET", NEVER), Fault("DELETE", NEVER)]
    async with asyncio.timeout(60):
        assert await runpod.observe("pod0001") == "unknown"
        with pytest.raises(Busy, match="did not answer"):
            await runpod.stop("pod0001", 30)


async def test_stopping_deletes_and_may_be_repeated(fake: FakeRunPod, runpod: RunPod) -> None:
    handle = await runpod.launch(SPEC, KEY)
    await runpod.stop(handle, 30)
    await runpod.stop(handle, 30)
    assert fake.pods == {}
    assert await runpod.observe(handle) == "gone"


async def test_only_pods_with_the_owners_mark_are_listed(fake: FakeRunPod, runpod: RunPod) -> None:
    handle = await runpod.launch(SPEC, KEY)
    await runpod.launch(SPEC, "ws-ffffffff-rented-11223344")
    await runpod.launch(SPEC, "somebody's notebook")
    assert await runpod.list("0a1b2c3d") == [Found(key=KEY, handle=handle)]
