"""One job through the gateway, from upload to result, as OpenAI's own Python client sees it."""

import hashlib

import pytest

from contracts.datasets import DatasetAsked
from contracts.files import FileUploaded
from contracts.jobs import JobCancelAsked, JobSubmitted
from contracts.recipes import SHIPPED_MODEL
from tests.integration.gateway.conftest import LINES, Gateway, Story


async def test_openai_client_uploads_submits_follows_and_cancels(gateway: Gateway) -> None:
    client = gateway.openai
    file = await client.files.create(file=("chats.jsonl", LINES), purpose="fine-tune")
    job = await client.fine_tuning.jobs.create(
        model=SHIPPED_MODEL, training_file=file.id, suffix="coach", metadata={"team": "money"}
    )
    assert (job.status, job.training_file, job.metadata) == ("validating_files", file.id, {"team": "money"})

    uploaded, asked, submitted = [
        (await gateway.world.told(kind))[0] for kind in (FileUploaded, DatasetAsked, JobSubmitted)
    ]
    assert uploaded.sha256 == hashlib.sha256(LINES).hexdigest()
    assert asked.sha256 == uploaded.sha256
    assert (submitted.dataset_id, submitted.suffix) == (asked.dataset_id, "coach")

    await client.fine_tuning.jobs.cancel(job.id)
    assert (await gateway.world.told(JobCancelAsked))[0].job_id == job.id


async def test_job_reaches_its_end_with_model_files_and_story(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    weights = b"weights" * 1000
    await gateway.platform.storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", weights)
    await gateway.platform.storage.put_bytes(f"{story.adapter}/metrics.csv", b"step,train_loss\n1,2.0\n")
    for fact in (
        story.dataset_ready(),
        story.queued(),
        story.dispatched(),
        story.finished(weights),
        story.succeeded(),
    ):
        await gateway.world.tell(fact)
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    await gateway.until(path, lambda job: job["status"] == "succeeded" and job["result_files"])
    job = await gateway.openai.fine_tuning.jobs.retrieve(story.job_id)
    assert (job.fine_tuned_model, job.trained_tokens, job.error) == ("ft:coach", 3000, None)
    assert job.hyperparameters.n_epochs == 3
    result = await gateway.openai.files.content(job.result_files[0])
    assert result.text == "step,train_loss\n1,2.0\n"
    assert [model.id async for model in gateway.openai.models.list()] == [SHIPPED_MODEL, "ft:coach"]
    messages = [event.message async for event in gateway.openai.fine_tuning.jobs.list_events(story.job_id, limit=2)]
    assert messages[::-1][:4] == [
        "Accepted; the training file is being checked",
        "Dataset ready: 16 examples to train on, 4 held out",
        "Queued: about 3 minutes, 45 steps",
        "A device is free: starting",
    ]


@pytest.mark.parametrize("page", [1, 2, 5])
async def test_openai_client_pages_through_jobs_newest_first(gateway: Gateway, page: int) -> None:
    submitted = [(await gateway.submit())["id"] for _ in range(4)]
    listed = [job.id async for job in gateway.openai.fine_tuning.jobs.list(limit=page)]
    assert listed == submitted[::-1]
