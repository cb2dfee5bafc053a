"""OpenAI's own Python client, as it is published, through everything it can ask of files, fine-tuning and models."""

import asyncio
import hashlib
import re
from pathlib import Path

import msgspec
import openai
import pytest

from contracts.base import encode, subject_of
from contracts.jobs import JobPauseAsked, JobResumeAsked, JobSubmitted, ModelDeleted, Overrides, model_name
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import CheckpointCommitted
from tests.integration.gateway.conftest import LINES, Gateway, Story, now

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "use-openais-clients.md"
WEIGHTS = b"weights" * 1000
CURVE = b"step,train_loss\n1,2.0\n"
PAGES = {"pdf": b"%PDF", "html": b"<p>", "json": b"{}"}


async def _trained(gateway: Gateway) -> Story:
    """Let a job live until its model is made, listed and measured."""
    job = await gateway.submit(suffix="Money Coach")
    story = Story(job, model=model_name(SHIPPED_MODEL, "studio", "Money Coach", job["id"]))
    storage = gateway.platform.storage
    await storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", WEIGHTS)
    await storage.put_bytes(f"{story.adapter}/metrics.csv", CURVE)
    saved = [
        CheckpointCommitted(
            tenant="studio", at=now(), version=step, run_id=story.run_id, job_id=story.job_id,
            fence=1, step=step, uri="u", size=1, sha256="a" * 64, loss=2.0, eval_loss=1.5 if step > 30 else None,
        )
        for step in (15, 30, 45)
    ]  # fmt: skip
    facts = (story.queued(), story.dispatched(), *saved, story.finished(WEIGHTS), story.succeeded())
    for fact in (*facts, story.report(PAGES)):
        await gateway.world.tell(fact)
    measured = msgspec.structs.replace(story.progressed(45), eval_loss=1.5, eval_token_accuracy=0.625)
    await gateway.world.js.publish(subject_of(measured), encode(measured))
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    await gateway.until(path, lambda job: job["woodshed"]["stage"] == "done" and job["result_files"], 30)
    await gateway.until(f"{path}/metrics", lambda page: page["data"], 30)
    return story


async def test_the_program_on_the_page_runs(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    here = program.replace("http://127.0.0.1:8080", gateway.url).replace("wsk-…", gateway.key)
    assert here != program
    (tmp_path / "chats.jsonl").write_bytes(LINES)
    monkeypatch.chdir(tmp_path)
    await asyncio.to_thread(exec, here, {})
    (job,) = (await gateway.openai.fine_tuning.jobs.list()).data
    ours = job.model_extra["woodshed"]
    assert (job.metadata, ours["suffix"], ours["priority"]) == ({"team": "money"}, "coach", "high")


async def test_files(gateway: Gateway) -> None:
    files = gateway.openai.files
    kept = await files.create(file=("chats.jsonl", LINES), purpose="fine-tune")
    short = await files.create(
        file=("a.txt", b"hello"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    batch = await files.create(file=("b.jsonl", LINES), purpose="batch")
    assert (kept.object, kept.bytes, kept.filename, kept.purpose) == ("file", len(LINES), "chats.jsonl", "fine-tune")
    assert (kept.status, kept.expires_at, short.expires_at) == ("processed", None, short.created_at + 3600)
    assert batch.expires_at == batch.created_at + 30 * 86_400
    assert await files.retrieve(short.id) == short
    assert (await files.wait_for_processing(kept.id)).id == kept.id
    page = await files.list(limit=2, order="asc")
    assert ([each.id for each in page.data], page.has_more) == ([kept.id, short.id], True)
    assert (page.first_id, page.last_id) == (kept.id, short.id)
    assert [each.id for each in (await files.list(after=page.last_id, order="asc")).data] == [batch.id]
    assert [each.id for each in (await files.list(purpose="user_data")).data] == [short.id]
    assert (await files.content(kept.id)).content == LINES
    gone = await files.delete(kept.id)
    assert (gone.id, gone.object, gone.deleted) == (kept.id, "file", True)


async def test_uploads(gateway: Gateway) -> None:
    uploads = gateway.openai.uploads
    begun = await uploads.create(
        filename="chats.jsonl", purpose="fine-tune", bytes=len(LINES), mime_type="application/jsonl"
    )
    assert (begun.object, begun.status, begun.bytes, begun.file) == ("upload", "pending", len(LINES), None)
    assert begun.expires_at == begun.created_at + 3600
    part = await uploads.parts.create(begun.id, data=LINES)
    assert (part.object, part.upload_id) == ("upload.part", begun.id)
    assert (await uploads.cancel(begun.id)).status == "cancelled"
    done = await uploads.upload_file_chunked(
        file=LINES,
        filename="chats.jsonl",
        bytes=len(LINES),
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=500,
        md5=hashlib.md5(LINES, usedforsecurity=False).hexdigest(),
    )
    assert done.status == "completed"
    assert done.file
    assert (await gateway.openai.files.content(done.file.id)).content == LINES
    job = await gateway.openai.fine_tuning.jobs.create(model=SHIPPED_MODEL, training_file=done.file.id)
    assert job.training_file == done.file.id


async def test_a_job_with_all_its_settings_old_and_new(gateway: Gateway) -> None:
    jobs = gateway.openai.fine_tuning.jobs
    file = (await gateway.upload())["id"]
    new = await jobs.create(
        model=SHIPPED_MODEL,
        training_file=file,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
        suffix="coach",
        seed=7,
        metadata={"team": "money"},
        extra_body={"preset": "quick", "priority": "high", "training": "lora"},
    )
    old = await jobs.create(model=SHIPPED_MODEL, training_file=file, hyperparameters={"n_epochs": 2}, integrations=[])
    assert (new.object, new.organization_id, new.seed) == ("fine_tuning.job", "studio", 7)
    assert new.metadata == {"team": "money"}
    assert (new.integrations, new.result_files, new.fine_tuned_model, new.error) == ([], [], None, None)
    for job in (new, old):
        assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (2, "auto")
        assert job.method
        assert (job.method.type, job.method.supervised.hyperparameters.n_epochs) == ("supervised", 2)
    ours = new.model_extra["woodshed"]
    assert (ours["preset"], ours["priority"], ours["suffix"]) == ("conservative", "high", "coach")
    page = await jobs.list(limit=1)
    assert ([each.id for each in page.data], page.has_more) == ([old.id], True)
    assert [each.id for each in (await jobs.list(after=old.id, metadata={"team": "money"})).data] == [new.id]
    for wish in (jobs.pause, jobs.resume, jobs.cancel):
        assert (await wish(new.id)).id == new.id
    assert (await gateway.world.told(JobPauseAsked))[0].job_id == new.id
    assert (await gateway.world.told(JobResumeAsked))[0].job_id == new.id


async def test_a_job_that_learns_from_pairs_tells_back_how(gateway: Gateway) -> None:
    asked = {"beta": 0.2, "n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    job = await gateway.openai.fine_tuning.jobs.create(
        model=SHIPPED_MODEL,
        training_file=(await gateway.upload())["id"],
        method={"type": "dpo", "dpo": {"hyperparameters": asked}},
    )
    assert job.method
    assert (job.method.type, job.method.supervised) == ("dpo", None)
    assert job.method.dpo.hyperparameters.model_dump() == asked
    assert job.hyperparameters.n_epochs == 2
    told = (await gateway.world.told(JobSubmitted))[-1]
    assert told.overrides == Overrides(objective="dpo", beta=0.2, epochs=2)
    [listed] = (await gateway.openai.fine_tuning.jobs.list(limit=1)).data
    assert listed.method == job.method


async def test_what_is_not_offered_is_a_bad_request_that_names_the_field_and_what_to_do(gateway: Gateway) -> None:
    create = gateway.openai.fine_tuning.jobs.create
    file = (await gateway.upload())["id"]
    wandb = {"type": "wandb", "wandb": {"project": "p"}}
    for changes, param, code in (
        ({"method": {"type": "dpo", "supervised": {}}}, "method.supervised", "contradiction"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}},
            "method.dpo.hyperparameters.beta",
            "invalid_request",
        ),
        ({"method": {"type": "dpo"}, "extra_body": {"training": "full"}}, "training", "unsupported_method"),
        ({"method": {"type": "reinforcement"}}, "method.type", "unsupported_method"),
        ({"integrations": [wandb]}, "integrations", "unsupported_integration"),
        ({"integrations": [{"type": "mlflow"}]}, "integrations", "unsupported_integration"),
        ({"integrations": [{"type": "wandb", "wandb": {}}]}, "integrations[0].wandb", "invalid_request"),
        ({"model": "gpt-4o-mini"}, "model", "unknown_model"),
        ({"extra_body": {"budget": -5}}, "budget", "invalid_request"),
        ({"extra_body": {"device_class": "gpu"}}, "device_class", "invalid_request"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            await create(**({"model": SHIPPED_MODEL, "training_file": file} | changes))
        assert (refused.value.param, refused.value.code, refused.value.type) == (param, code, "invalid_request_error")
        assert refused.value.body["message"]
    picture = await gateway.openai.files.create(file=("a.png", b"png"), purpose="vision")
    with pytest.raises(openai.BadRequestError) as refused:
        await create(model=SHIPPED_MODEL, training_file=picture.id)
    assert refused.value.param == "training_file"
    with pytest.raises(openai.NotFoundError):
        await create(model=SHIPPED_MODEL, training_file="file-none")


async def test_what_a_job_leaves_and_its_end(gateway: Gateway) -> None:
    client, story = gateway.openai, await _trained(gateway)
    job = await client.fine_tuning.jobs.retrieve(story.job_id)
    assert (job.status, job.fine_tuned_model) == ("succeeded", story.model)
    assert story.model == f"ft:{SHIPPED_MODEL}:studio:money-coach:{story.job_id[-8:]}"
    assert (await client.files.content(job.result_files[0])).content == CURVE
    assert (await client.files.retrieve(job.result_files[0])).purpose == "fine-tune-results"

    events = [each async for each in client.fine_tuning.jobs.list_events(story.job_id, limit=2)]
    assert len(events) > 5
    assert {(each.object, each.level) for each in events} == {("fine_tuning.job.event", "info")}
    assert sorted((each.id for each in events), reverse=True) == [each.id for each in events]

    saved = [each async for each in client.fine_tuning.jobs.checkpoints.list(story.job_id, limit=1)]
    assert [(each.step_number, each.metrics.full_valid_loss) for each in saved] == [(45, 1.5), (30, None), (15, None)]
    guessed = [each.metrics.valid_mean_token_accuracy for each in saved]
    assert guessed == [each.metrics.full_valid_mean_token_accuracy for each in saved] == [0.625, None, None]
    name = saved[0].fine_tuned_model_checkpoint
    assert name == f"{story.model}:ckpt-step-45"
    permissions = client.fine_tuning.checkpoints.permissions
    given = [each async for each in permissions.create(name, project_ids=["proj_a", "proj_b", "proj_c"])]
    again = [each async for each in permissions.create(name, project_ids=["proj_a"])]
    assert [each.project_id for each in given] == ["proj_a", "proj_b", "proj_c"]
    assert (again[0].id, again[0].object) == (given[0].id, "checkpoint.permission")
    assert [each.id async for each in permissions.list(name, limit=1)] == [each.id for each in given[::-1]]
    assert [each.id async for each in permissions.list(name, project_id="proj_b")] == [given[1].id]
    gone = await permissions.delete(given[0].id, fine_tuned_model_checkpoint=name)
    assert (gone.id, gone.object, gone.deleted) == (given[0].id, "checkpoint.permission", True)
    assert [each.id async for each in permissions.list(name, order="ascending")] == [given[1].id, given[2].id]
    with pytest.raises(openai.NotFoundError):
        await permissions.create(name.replace("step-45", "step-46"), project_ids=["proj_a"])


async def test_a_model_is_listed_described_and_deleted_with_its_bytes(gateway: Gateway) -> None:
    models, story = gateway.openai.models, await _trained(gateway)
    assert [each.id async for each in models.list()] == [SHIPPED_MODEL, story.model]
    model = await models.retrieve(story.model)
    assert (model.object, model.owned_by) == ("model", "studio")
    with pytest.raises(openai.PermissionDeniedError):
        await models.delete(SHIPPED_MODEL)
    gone = await models.delete(story.model)
    assert (gone.id, gone.object, gone.deleted) == (story.model, "model", True)
    assert await gateway.platform.storage.list(story.adapter) == []
    assert (await gateway.world.told(ModelDeleted))[0].model == story.model
    for call in (models.retrieve, models.delete):
        with pytest.raises(openai.NotFoundError):
            await call(story.model)
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    assert (await gateway.http.get(f"{path}/artifacts")).json()["data"] == []
    assert (await gateway.http.post(f"{path}/ask", json={"prompt": "Hello?"})).status_code == 404
    await gateway.until(f"{path}/events", lambda page: "was deleted" in page["data"][0]["message"], 30)
    result = (await gateway.job(story.job_id))["result_files"][0]
    assert (await gateway.openai.files.content(result)).content == CURVE, "figures are no part of the model"


async def test_a_model_that_is_still_measured_is_not_deleted_and_half_a_deletion_is_ended(gateway: Gateway) -> None:
    story = await _trained(gateway)
    async with gateway.platform.db.transaction("studio") as tx:
        await tx.execute("UPDATE gateway.job SET proof_stage = 'evaluating'")
    with pytest.raises(openai.ConflictError):
        await gateway.openai.models.delete(story.model)
    async with gateway.platform.db.transaction("studio") as tx:
        await tx.execute("UPDATE gateway.job SET model_deleting_at = now() - interval '2 minutes'")
    assert (await gateway.world.told(ModelDeleted))[0].job_id == story.job_id
    assert await gateway.platform.storage.list(story.adapter) == []
