"""Jobs: accepted once, refused with a reason, and shown as the facts say, in whatever order they come."""

import asyncio
import itertools
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from openai import AsyncOpenAI

from contracts.base import encode, subject_of
from contracts.datasets import DatasetAsked
from contracts.jobs import JobCancelAsked, JobFailed, JobSubmitted
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import CheckpointCommitted, DispatchDeclined, RunInterrupted, RunRecovered, RunStageReached
from libs.testing.platform import World
from tests.integration.gateway.conftest import LINES, Gateway, Story, now

JOBS = "/v1/fine_tuning/jobs"


async def _body(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    return {"model": SHIPPED_MODEL, "training_file": (await gateway.upload())["id"]} | changes


# --- submitting ---


async def test_preset_and_overrides_reach_the_scheduler(gateway: Gateway) -> None:
    await gateway.submit(
        preset="quick", hyperparameters={"n_epochs": 2}, rank=4, priority="high", seed=7, time_limit=60
    )
    told = (await gateway.world.told(JobSubmitted))[0]
    assert (told.preset, told.priority, told.seed) == ("conservative", "high", 7)
    assert (told.overrides.epochs, told.overrides.rank, told.overrides.time_limit) == (2, 4, 60)


async def test_the_same_file_twice_is_one_dataset(gateway: Gateway) -> None:
    jobs = [await gateway.submit() for _ in range(2)]
    assert jobs[0]["woodshed"]["dataset"] == jobs[1]["woodshed"]["dataset"]
    await gateway.world.told(JobSubmitted, count=2)
    assert len(await gateway.world.all_told(DatasetAsked)) == 1


async def test_a_dataset_may_be_named_if_it_fits(gateway: Gateway) -> None:
    body = await _body(gateway)
    wish = {"file": body["training_file"], "split": {"by": "speaker", "seed": 3}}
    dataset = (await gateway.http.post("/v1/datasets", json=wish)).json()
    job = (await gateway.http.post(JOBS, json=body | {"dataset": dataset["id"]})).json()
    assert job["woodshed"]["dataset"] == dataset["id"]
    other = await gateway.upload()
    refused = await gateway.http.post(JOBS, json=body | {"training_file": other["id"], "dataset": dataset["id"]})
    assert refused.json()["code"] == "contradiction"


async def test_a_validation_file_goes_to_the_dataset(gateway: Gateway) -> None:
    validation = await gateway.upload(LINES[:200], "held-out.jsonl")
    job = await gateway.submit(validation_file=validation["id"])
    asked = (await gateway.world.told(DatasetAsked))[0]
    assert (job["validation_file"], asked.validation_sha256) == (validation["id"], validation["sha256"])
    assert asked.split.validation == 0


@pytest.mark.parametrize(
    ("changes", "status", "code", "param"),
    [
        ({"model": "gpt-5"}, 400, "unknown_model", "model"),
        ({"preset": "fast"}, 400, "unknown_preset", "preset"),
        ({"training_file": "file-none"}, 404, "not_found", "training_file"),
        ({"validation_file": "file-none"}, 404, "not_found", "validation_file"),
        ({"dataset": "ds-none"}, 404, "not_found", "dataset"),
        ({"method": {"type": "reinforcement"}}, 400, "unsupported_method", "method.type"),
        ({"integrations": [{"type": "wandb"}]}, 400, "unsupported_integration", "integrations"),
        ({"budget": 0}, 400, "invalid_request", "budget"),
        ({"device_class": "gpu"}, 400, "invalid_request", "device_class"),
        ({"presett": "quick"}, 400, "invalid_request", "presett"),
        ({"seed": "one"}, 400, "invalid_request", "seed"),
        ({"hyperparameters": {"n_epochs": 99}}, 400, "invalid_request", "hyperparameters.n_epochs"),
    ],
)
async def test_what_cannot_work_is_refused_by_name_and_leaves_no_job(
    gateway: Gateway, changes: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    answer = await gateway.http.post(JOBS, json=await _body(gateway) | changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["error"]["param"] == param
    assert (await gateway.http.get(JOBS)).json()["data"] == []


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"", b"[" * 5000 + b"]" * 5000])
async def test_a_body_that_is_no_job_is_a_400(gateway: Gateway, content: bytes) -> None:
    answer = await gateway.http.post(JOBS, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


async def test_openai_client_raises_its_own_errors(gateway: Gateway) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no job"):
        await gateway.openai.fine_tuning.jobs.retrieve("ftjob-none")
    with pytest.raises(openai.BadRequestError) as refused:
        await gateway.openai.fine_tuning.jobs.create(model="gpt-5", training_file=(await gateway.upload())["id"])
    assert (refused.value.param, refused.value.code) == ("model", "unknown_model")
    with pytest.raises(openai.AuthenticationError):
        await AsyncOpenAI(api_key="sk-wrong", base_url=f"{gateway.url}/v1", max_retries=0).files.list()


# --- once ---


async def test_an_idempotency_key_makes_one_job_and_refuses_another_body(gateway: Gateway) -> None:
    body = await _body(gateway)
    headers = {"Idempotency-Key": "k1"}
    first, second = [await gateway.http.post(JOBS, json=body, headers=headers) for _ in range(2)]
    assert first.json() == second.json()
    other = await gateway.http.post(JOBS, json=body | {"seed": 1}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (400, "idempotency_key_reused")
    assert len((await gateway.http.get(JOBS)).json()["data"]) == 1


async def test_twenty_at_once_with_one_key_make_one_job(gateway: Gateway) -> None:
    body = await _body(gateway)
    answers = await asyncio.gather(
        *(gateway.http.post(JOBS, json=body, headers={"Idempotency-Key": "k2"}) for _ in range(20))
    )
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await gateway.world.all_told(JobSubmitted)) == 1


async def test_a_refused_request_does_not_use_its_key_up(gateway: Gateway) -> None:
    headers = {"Idempotency-Key": "k3"}
    assert (await gateway.http.post(JOBS, json=await _body(gateway, preset="x"), headers=headers)).status_code == 400
    assert (await gateway.http.post(JOBS, json=await _body(gateway), headers=headers)).status_code == 200


async def test_a_key_is_forgotten_after_a_day(gateway: Gateway) -> None:
    body, headers = await _body(gateway), {"Idempotency-Key": "k4"}
    first = (await gateway.http.post(JOBS, json=body, headers=headers)).json()["id"]
    async with gateway.platform.db.across_tenants() as tx:
        await tx.execute("UPDATE gateway.idempotency SET created_at = now() - interval '25 hours'")
    assert (await gateway.http.post(JOBS, json=body, headers=headers)).json()["id"] != first


async def test_keys_of_two_organisations_do_not_meet(gateway: Gateway) -> None:
    headers = {"Idempotency-Key": "k5"}
    await gateway.http.post(JOBS, json=await _body(gateway), headers=headers)
    async with await gateway.stranger() as stranger:
        file = await stranger.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", LINES)})
        body = {"model": SHIPPED_MODEL, "training_file": file.json()["id"]}
        assert (await stranger.post(JOBS, json=body, headers=headers)).status_code == 200


async def test_openai_client_that_loses_the_answer_retries_without_a_second_job(gateway: Gateway) -> None:
    answers = itertools.count()

    async def lose_first(response: Any) -> None:
        if next(answers) == 0:
            raise httpx2.ReadTimeout("lost on the way")

    body = await _body(gateway)
    hooks = openai.DefaultAsyncHttpxClient(event_hooks={"response": [lose_first]})
    async with AsyncOpenAI(api_key=gateway.key, base_url=f"{gateway.url}/v1", http_client=hooks) as client:
        retried = await client.fine_tuning.jobs.create(**body)
        assert next(answers) == 2
        assert [job.id for job in (await client.fine_tuning.jobs.list()).data] == [retried.id]
        again = await client.fine_tuning.jobs.create(**body)
    assert again.id != retried.id


# --- ending ---


async def test_cancelling_twice_is_fine_and_after_the_end_a_conflict(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    path = f"{JOBS}/{story.job_id}"
    assert (await gateway.http.post(f"{path}/cancel")).status_code == 200
    assert (await gateway.http.post(f"{path}/cancel")).status_code == 200
    await gateway.world.told(JobCancelAsked)
    await gateway.world.tell(story.succeeded(1))
    await gateway.until(path, lambda job: job["status"] == "succeeded")
    late = await gateway.http.post(f"{path}/cancel")
    assert (late.status_code, late.headers["x-should-retry"]) == (409, "false")


async def test_a_failure_is_shown_with_reason_and_remedy(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    failed = JobFailed(
        tenant="studio",
        at=now(),
        version=1,
        job_id=story.job_id,
        reason="bad_data",
        message="No text.",
        fix="Add some.",
    )
    await gateway.world.tell(failed)
    job = await gateway.until(f"{JOBS}/{story.job_id}", lambda job: job["status"] == "failed")
    assert job["error"] == {"code": "bad_data", "message": "No text. Add some.", "param": "training_file"}
    assert (job["finished_at"], job["woodshed"]["fix"]["sentence"]) == (int(failed.at.timestamp()), "Add some.")


# --- projecting ---


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
async def test_facts_in_any_order_and_twice_show_the_same_job(gateway: Gateway, order: tuple[int, ...]) -> None:
    story = Story(await gateway.submit())
    training = RunStageReached(
        tenant="studio", at=now(), version=4, run_id=story.run_id, job_id=story.job_id, stage="training"
    )
    facts = [story.queued(1), story.dispatched(2), training, story.succeeded(3)]
    for number in order:
        name = await gateway.world.tell(facts[number])
        await gateway.world.tell(facts[number], identity=f"{name}-again")
    await gateway.until(f"{JOBS}/{story.job_id}/events", lambda events: len(events["data"]) == 5)
    job = await gateway.job(story.job_id)
    details = job["woodshed"]
    assert (job["status"], job["fine_tuned_model"], details["stage"]) == ("succeeded", "ft:coach", "trained")
    assert (details["run"], details["estimate"]["steps"], job["hyperparameters"]["batch_size"]) == (
        story.run_id,
        45,
        16,
    )


async def test_a_declined_dispatch_puts_the_job_back_into_the_queue(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await gateway.world.tell(story.queued(1))
    await gateway.world.tell(story.dispatched(2))
    await gateway.until(f"{JOBS}/{story.job_id}", lambda job: job["woodshed"]["stage"] == "starting")
    declined = DispatchDeclined(
        tenant="studio", at=now(), version=1, run_id=story.run_id, job_id=story.job_id, device_id="cpu-0"
    )
    for fact in (declined, story.queued(3)):
        await gateway.world.tell(fact)
    await gateway.until(f"{JOBS}/{story.job_id}", lambda job: job["status"] == job["woodshed"]["stage"] == "queued")


async def test_checkpoints_and_interruptions_are_told_in_order(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    ids = {"tenant": "studio", "run_id": story.run_id, "job_id": story.job_id}
    await gateway.world.tell(story.dispatched())
    for step in (12, 24):
        await gateway.world.tell(
            CheckpointCommitted(
                **ids, at=now(), version=step, fence=1, step=step, uri="u", size=1, sha256="a" * 64, loss=2.0
            )
        )
    await gateway.world.tell(
        RunInterrupted(
            **ids, at=now(), version=25, fence=1, cause="worker_killed", evidence="SIGKILL", step=24, lost_steps=0
        )
    )
    job = await gateway.until(f"{JOBS}/{story.job_id}", lambda job: job["woodshed"]["stage"] == "recovering")
    await gateway.world.tell(RunRecovered(**ids, at=now(), version=26, fence=2, step=24, seconds=4.0, interruptions=1))
    job = await gateway.until(f"{JOBS}/{story.job_id}", lambda job: job["woodshed"]["stage"] == "training")
    assert job["woodshed"]["interruptions"] == 1
    listed = [each async for each in gateway.openai.fine_tuning.jobs.checkpoints.list(story.job_id, limit=1)]
    assert [(each.step_number, each.metrics.train_loss) for each in listed] == [(24, 2.0), (12, 2.0)]
    messages = [each.message async for each in gateway.openai.fine_tuning.jobs.list_events(story.job_id)]
    assert messages[:4] == [
        "Training again from step 24, after about 4 seconds",
        "Interrupted (worker killed); resuming from step 24, nothing lost",
        "Checkpoint saved at step 24, loss 2.000",
        "Checkpoint saved at step 12, loss 2.000",
    ]


async def test_measurements_become_figures_by_step_and_the_newest_progress(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await gateway.world.tell(story.dispatched())
    for fact in (
        story.progressed(1, 3.0),
        story.progressed(2, 2.5),
        story.progressed(3, 2.2),
        story.progressed(2, 2.4, attempt=2),
    ):
        await _measure(gateway.world, fact)
    path = f"{JOBS}/{story.job_id}"
    metrics = await gateway.until(f"{path}/metrics", lambda page: len(page["data"]) == 3)
    assert [(each["step"], each["train_loss"]) for each in metrics["data"]] == [(1, 3.0), (2, 2.4), (3, 2.2)]
    job = await gateway.until(path, lambda job: job["woodshed"]["progress"])
    assert (job["woodshed"]["progress"]["step"], job["woodshed"]["progress"]["eta_seconds"]) == (2, 60.0)
    assert job["estimated_finish"] > job["created_at"]
    text = (await gateway.http.get(f"{path}/metrics?format=csv")).text.splitlines()
    assert text[0].startswith("step,epoch,train_loss,")
    assert len(text) == 4


async def _measure(world: World, fact: msgspec.Struct) -> None:
    await world.js.publish(subject_of(fact), encode(fact), stream="TELEMETRY")  # type: ignore[arg-type]


# --- the wire ---


async def test_a_job_has_every_key_that_openai_php_insists_on(gateway: Gateway) -> None:
    job = await gateway.submit()
    wanted = {
        "id", "object", "created_at", "finished_at", "model", "fine_tuned_model", "organization_id", "result_files",
        "status", "training_file", "validation_file", "trained_tokens", "hyperparameters", "error", "seed",
        "integrations", "metadata", "method", "estimated_finish",
    }  # fmt: skip
    assert wanted <= job.keys()
    assert job["hyperparameters"] == dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")
    for path in (JOBS, f"{JOBS}/{job['id']}/events", f"{JOBS}/{job['id']}/checkpoints", "/v1/files"):
        assert (await gateway.http.get(path)).json()["has_more"] is False


async def test_jobs_are_found_by_their_metadata(gateway: Gateway) -> None:
    job = await gateway.submit(metadata={"team": "money", "n": "1"})
    await gateway.submit(metadata={"team": "guitar"})
    bare = await gateway.submit()
    found = await gateway.openai.fine_tuning.jobs.list(metadata={"team": "money"})
    assert [each.id for each in found.data] == [job["id"]]
    without = (await gateway.http.get(f"{JOBS}?metadata=null")).json()["data"]
    assert [each["id"] for each in without] == [bare["id"]]
