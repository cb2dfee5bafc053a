"""What a job leaves and what others are asked: files, report, replies, previews and estimates."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from contracts.base import Question, Refusal, encode
from contracts.datasets import DatasetPreview, Piece, PreviewDataset, PreviewedExample
from contracts.evaluations import AskModel, ModelReplied, ServingCompared
from contracts.jobs import EstimateJob, JobEstimated, Remedy
from contracts.machines import Device, ListMachines, Machines
from contracts.recipes import SHIPPED_MODEL
from libs.db.database import now
from tests.integration.gateway.conftest import ESTIMATE, RECIPE, Gateway, Story

PAGES = {"pdf": b"%PDF-1.7 report", "html": b"<p>report</p>", "json": b'{"verdict": "better"}'}
WEIGHTS = b"weights" * 100_000


@asynccontextmanager
async def _answering(gateway: Gateway, kind: type[Question], answer: msgspec.Struct) -> AsyncIterator[list[Question]]:
    """Answer questions of a kind as the service would that owns it."""
    asked: list[Question] = []

    async def reply(message: Any) -> None:
        asked.append(msgspec.json.decode(message.data, type=kind))
        await message.respond(encode(answer))

    heard = await gateway.world.nc.subscribe(kind.subject, cb=reply)
    await gateway.world.nc.flush()
    yield asked
    await heard.unsubscribe()


async def _finished(gateway: Gateway) -> Story:
    story = Story(await gateway.submit())
    storage = gateway.platform.storage
    await storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", WEIGHTS)
    await storage.put_bytes(f"{story.adapter}/adapter_config.json", b"{}")
    await storage.put_bytes(f"{story.adapter}/metrics.csv", b"step,train_loss\n1,2.0\n")
    for name, page in PAGES.items():
        await storage.put_bytes(f"studio/reports/eval-1/report.{name}", page)
    for fact in (story.dispatched(), story.finished(WEIGHTS), story.succeeded(), story.report(PAGES)):
        await gateway.world.tell(fact)
    return story


async def test_artifacts_are_listed_with_hashes_and_come_whole_or_in_parts(gateway: Gateway) -> None:
    story = await _finished(gateway)
    path = f"/v1/fine_tuning/jobs/{story.job_id}/artifacts"
    listed = (await gateway.until(path, lambda page: page["data"]))["data"]
    assert [each["name"] for each in listed] == ["adapter_config.json", "adapter_model.safetensors", "metrics.csv"]
    weights = listed[1]
    assert (weights["size"], weights["sha256"]) == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    assert (await gateway.http.get(weights["url"])).content == WEIGHTS
    part = await gateway.http.get(weights["url"], headers={"Range": "bytes=7-13"})
    assert (part.status_code, part.content) == (206, b"weights")
    assert (await gateway.http.get(f"{path}/nothing.bin")).status_code == 404


async def test_weights_that_are_not_those_the_run_told_are_not_listed(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    await gateway.platform.storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", b"other bytes")
    await gateway.world.tell(story.finished(WEIGHTS))
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    await gateway.until(f"{path}/events", lambda page: "Adapter stored" in str(page["data"][:1]))
    assert (await gateway.http.get(f"{path}/artifacts")).json()["data"] == []
    await gateway.platform.storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", WEIGHTS)
    await gateway.until(f"{path}/artifacts", lambda page: len(page["data"]) == 1)


async def test_the_result_file_can_be_deleted_without_the_adapter(gateway: Gateway) -> None:
    story = await _finished(gateway)
    job = await gateway.until(f"/v1/fine_tuning/jobs/{story.job_id}", lambda job: job["result_files"])
    listed = await gateway.openai.files.list(purpose="fine-tune-results")
    assert [file.id for file in listed.data] == job["result_files"]
    await gateway.openai.files.delete(job["result_files"][0])
    metrics = await gateway.http.get(f"/v1/fine_tuning/jobs/{story.job_id}/artifacts/metrics.csv")
    assert metrics.text.startswith("step,")


async def test_the_report_comes_in_three_formats_and_cannot_run_scripts(gateway: Gateway) -> None:
    story = await _finished(gateway)
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    job = await gateway.until(path, lambda job: job["woodshed"]["stage"] == "done")
    assert job["woodshed"]["report"] == "ready"
    assert (job["woodshed"]["verdict"], job["woodshed"]["headline"]) == ("better", "12 % better on words it never saw")
    for suffix, name, kind in (
        ("", "json", "application/json"),
        (".pdf", "pdf", "application/pdf"),
        (".html", "html", "text/html"),
    ):
        answer = await gateway.http.get(f"{path}/report{suffix}")
        assert (answer.status_code, answer.content) == (200, PAGES[name])
        assert answer.headers["content-type"].startswith(kind)
        assert answer.headers["content-security-policy"].startswith("sandbox")
    assert json.loads((await gateway.http.get(f"{path}/report")).content) == {"verdict": "better"}


async def test_a_job_without_report_says_when_there_will_be_one(gateway: Gateway) -> None:
    job = await gateway.submit()
    answer = await gateway.http.get(f"/v1/fine_tuning/jobs/{job['id']}/report.pdf")
    assert (answer.status_code, "after the evaluation" in answer.json()["fix"]) == (404, True)


async def test_a_model_that_is_not_served_as_trained_is_not_offered_and_its_files_stay(gateway: Gateway) -> None:
    story = await _finished(gateway)
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    await gateway.until("/v1/models", lambda page: story.model in str(page))
    remedy = Remedy(kind="operator", title="Look at the engine", sentence="Train again.")
    await gateway.world.tell(
        ServingCompared(
            tenant="studio", at=now(), version=2, evaluation_id="eval-1", job_id=story.job_id, same=False, prompts=3,
            tokens=24, differing=3, difference=2.0, tolerance=0.05, message="It says something else.", remedy=remedy,
        )
    )  # fmt: skip
    job = await gateway.until(path, lambda job: job["woodshed"]["fix"])
    assert (job["status"], job["woodshed"]["fix"]["kind"]) == ("succeeded", "operator")
    assert story.model not in str((await gateway.http.get("/v1/models")).json())
    await gateway.until(f"{path}/artifacts", lambda page: len(page["data"]) == 3)
    events = (await gateway.http.get(f"{path}/events")).json()["data"]
    assert ("warn", "It says something else.") in [(each["level"], each["message"]) for each in events]


async def test_a_reply_of_both_models(gateway: Gateway) -> None:
    story = await _finished(gateway)
    path = f"/v1/fine_tuning/jobs/{story.job_id}"
    await gateway.until(path, lambda job: job["status"] == "succeeded")
    async with _answering(gateway, AskModel, ModelReplied(base="Hm.", tuned="Hello, friend!")) as asked:
        answer = await gateway.http.post(f"{path}/ask", json={"prompt": "Hello?", "max_tokens": 12})
    assert answer.json()["tuned"] == "Hello, friend!"
    assert asked == [AskModel(tenant="studio", job_id=story.job_id, prompt="Hello?", max_tokens=12)]


async def test_a_job_without_model_has_nobody_to_ask(gateway: Gateway) -> None:
    job = await gateway.submit()
    answer = await gateway.http.post(f"/v1/fine_tuning/jobs/{job['id']}/ask", json={"prompt": "Hello?"})
    assert (answer.status_code, answer.json()["code"]) == (409, "no_model_yet")


async def test_a_preview_shows_what_is_trained(gateway: Gateway) -> None:
    dataset = (await gateway.submit())["woodshed"]["dataset"]
    piece = Piece(text="Hello!", trained=True)
    example = PreviewedExample(example_id="1", tokens=9, trained_tokens=3, pieces=(piece,))
    async with _answering(gateway, PreviewDataset, DatasetPreview(examples=(example,))) as asked:
        answer = await gateway.http.get(f"/v1/datasets/{dataset}/preview?count=1")
    assert answer.json()["examples"][0]["pieces"] == [{"text": "Hello!", "trained": True}]
    assert asked == [PreviewDataset(tenant="studio", dataset_id=dataset, count=1)]
    assert (await gateway.http.get(f"/v1/datasets/{dataset}/preview?count=0")).status_code == 400


async def test_an_estimate_is_the_schedulers(gateway: Gateway) -> None:
    dataset = (await gateway.submit())["woodshed"]["dataset"]
    async with _answering(gateway, EstimateJob, JobEstimated(recipe=RECIPE, estimate=ESTIMATE)) as asked:
        answer = await gateway.http.post("/v1/estimates", json={"dataset": dataset, "preset": "deep", "rank": 8})
    assert answer.json()["estimate"]["seconds"] == 180
    (question,) = asked
    assert isinstance(question, EstimateJob)
    assert (question.preset, question.overrides.rank, question.base_model) == ("aggressive", 8, SHIPPED_MODEL)


async def test_a_refusal_of_another_service_is_passed_on(gateway: Gateway) -> None:
    dataset = (await gateway.submit())["woodshed"]["dataset"]
    refusal = Refusal(code="not_ready", message="The dataset is still being read.", status=409)
    async with _answering(gateway, EstimateJob, refusal):
        answer = await gateway.http.post("/v1/estimates", json={"dataset": dataset})
    assert (answer.status_code, answer.json()["detail"]) == (409, "The dataset is still being read.")


async def test_a_service_that_is_down_is_said_with_when_to_come_back(gateway: Gateway) -> None:
    dataset = (await gateway.submit())["woodshed"]["dataset"]
    answer = await gateway.http.post("/v1/estimates", json={"dataset": dataset})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_machines_are_listed_for_the_organisation_that_asks(gateway: Gateway) -> None:
    bench = Device(
        device_id="bench-cpu0", runner="bench", kind="Xeon", precision="bfloat16", threads=2, memory_bytes=8,
        free_bytes=0, online=True, leaving=False, shared=False, jobs=("ftjob-1",), heard_ago=0.5,
    )  # fmt: skip
    async with _answering(gateway, ListMachines, Machines(devices=(bench,), coming=1)) as asked:
        listed = (await gateway.http.get("/v1/machines")).json()
    assert asked == [ListMachines(tenant="studio")]
    assert (listed["coming"], listed["data"][0]["jobs"], listed["data"][0]["heard_ago"]) == (1, ["ftjob-1"], 0.5)
