"""A short walk of schemathesis over the gateway, always the same; ``make fuzz`` goes further on a whole platform."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.base import Question, encode, subject_of
from contracts.chat import AskChat, ChatPiece
from contracts.datasets import DatasetPreview, Piece, PreviewDataset, PreviewedExample
from contracts.evaluations import AskModel, ModelReplied
from contracts.jobs import EstimateJob, JobEstimated
from contracts.machines import ListMachines, Machines
from contracts.runs import CheckpointCommitted
from contracts.webhooks import Attempt, Deliveries, Delivery, ListDeliveries, TryWebhook, WebhookTried
from libs.bus import Router
from libs.db import Database
from libs.service import App
from libs.testing.platform import World
from tests.fuzz.running import fuzz, table
from tests.fuzz.things import Ids
from tests.integration.gateway.conftest import ESTIMATE, RECIPE, Gateway, Story, listening, now
from tests.integration.gateway.test_retries import HALVE, JOBS, fail

pytest.importorskip("schemathesis", reason="this environment is older than `make setup`")

AT = datetime(2026, 11, 21, tzinfo=UTC)
CALL = Attempt(at=AT, status_code=200, milliseconds=3)
DELIVERY = Delivery(
    delivery_id="whd-1", event_id="evt-1", event_type="fine_tuning.job.succeeded", job_id="ftjob-1", state="delivered",
    tries=1, created_at=AT, attempts=(CALL,),
)  # fmt: skip
EXAMPLE = PreviewedExample(example_id="1", tokens=2, trained_tokens=1, pieces=(Piece(text="Hi", trained=True),))
ANSWERS: dict[type[Question], msgspec.Struct] = {
    EstimateJob: JobEstimated(recipe=RECIPE, estimate=ESTIMATE),
    PreviewDataset: DatasetPreview(examples=(EXAMPLE,)),
    AskModel: ModelReplied(base="Hello.", tuned="Hello!"),
    ListMachines: Machines(devices=()),
    ListDeliveries: Deliveries(deliveries=(DELIVERY,)),
    TryWebhook: WebhookTried(attempt=CALL),
}
"""What the other services would say."""
PAGES = {"pdf": b"%PDF", "html": b"<p>", "json": b"{}"}
WEIGHTS = b"weights"
EASY = {"webhook_private_networks": True, "key_calls": 10**7, "tenant_calls": 10**7, "address_calls": 10**7}


async def test_odd_requests_about_real_things_are_answered_as_described(world: World, tmp_path: Path) -> None:
    speaker = Router("evaluator")
    speaker.streams(AskChat)(_speak)
    async with (
        listening(world, tmp_path / "storage", **EASY) as gateway,
        world.service(App(speaker), await world.platform("evaluator")),
    ):
        await _answer_questions(world)
        job = await _jobs(gateway)
        verdict = await fuzz(
            tmp_path,
            gateway.url,
            gateway.key,
            "https://hooks.example/",
            job,
            ["--continue-on-failure"],
            config="same.toml",
        )
    assert not verdict.failed, verdict.report
    assert verdict.never == set(), table(verdict)


async def _answer_questions(world: World) -> None:
    for kind, answer in ANSWERS.items():

        async def reply(message: Any, said: bytes = encode(answer)) -> None:
            await message.respond(said)

        await world.nc.subscribe(kind.subject, cb=reply)
    await world.nc.flush()


async def _speak(question: AskChat, database: Database) -> AsyncGenerator[ChatPiece]:
    yield ChatPiece(text="Hello!", prompt_tokens=9, completion_tokens=1, finish="stop", fingerprint="fp_1")


async def _jobs(gateway: Gateway) -> Ids:
    """Tell the lives of three jobs, of which one fails; return what they left."""
    kept, spare, failed = [Story(await gateway.submit(suffix=suffix)) for suffix in ("kept", "spare", "failed")]
    models = [await _succeed(gateway, story) for story in (kept, spare)]
    await fail(gateway, failed, HALVE, version=1)
    path = f"{JOBS}/{kept.job_id}"
    checkpoints = await gateway.until(f"{path}/checkpoints", lambda page: page["data"])
    await gateway.until(f"{path}/metrics", lambda page: page["data"])
    return {
        "job": kept.job_id,
        "failed": failed.job_id,
        "dataset": kept.dataset_id,
        "model": models[0],
        "spare_model": models[1],
        "name": "adapter_model.safetensors",
        "checkpoint": checkpoints["data"][0]["fine_tuned_model_checkpoint"],
        "delivery": "whd-1",
    }


async def _succeed(gateway: Gateway, story: Story) -> str:
    """Let a job end well, with everything that is made of it; return its model."""
    story.model, storage = f"ft:{story.job_id}", gateway.platform.storage
    await storage.put_bytes(f"{story.adapter}/adapter_model.safetensors", WEIGHTS)
    for name, page in PAGES.items():
        await storage.put_bytes(f"studio/reports/eval-1/report.{name}", page)
    report = msgspec.structs.replace(story.report(PAGES), evaluation_id=f"eval-{story.job_id}")
    saved = CheckpointCommitted(
        tenant="studio", at=now(), version=1, run_id=story.run_id, job_id=story.job_id,
        fence=1, step=12, uri="u", size=1, sha256="a" * 64, loss=2.0,
    )  # fmt: skip
    facts = [story.dataset_ready(), story.queued(), story.dispatched(), saved, story.finished(WEIGHTS)]
    for fact in (*facts, story.succeeded(), report):
        await gateway.world.tell(fact)
    await gateway.world.js.publish(subject_of(story.progressed(1)), encode(story.progressed(1)))
    await gateway.until(f"{JOBS}/{story.job_id}/artifacts", lambda page: page["data"])
    done = await gateway.until(f"{JOBS}/{story.job_id}", lambda job: job["woodshed"]["stage"] == "done")
    return str(done["fine_tuned_model"])
