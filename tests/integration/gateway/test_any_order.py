"""Whatever the order and however often a job's facts come, people see the same job and the same story in the end."""

import asyncio
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from contracts.base import Event, new_id, type_of
from contracts.datasets import DatasetAsked, SplitPlan
from contracts.evaluations import EvaluationStarted, SuiteScored
from contracts.files import FileUploaded
from contracts.jobs import (
    JobPauseAsked,
    JobPaused,
    JobResumeAsked,
    JobResumed,
    JobStopping,
    JobSubmitted,
    Overrides,
)
from contracts.recipes import SHIPPED_MODEL
from contracts.runs import (
    CheckpointCommitted,
    DispatchDeclined,
    RunInterrupted,
    RunPaused,
    RunRecovered,
    RunStageReached,
    RunStarted,
)
from libs.db import Database, Transaction
from libs.testing.platform import World
from services.gateway.bootstrap import bootstrap
from services.gateway.domain import shapes, statuses
from services.gateway.handlers import router
from services.gateway.queries import datasets as dataset_queries
from services.gateway.queries import evidence as evidence_queries
from services.gateway.queries import files as file_queries
from services.gateway.queries import jobs as job_queries
from services.gateway.queries import results as result_queries
from services.gateway.queries import story as story_queries
from tests.integration.gateway.conftest import ESTIMATE, PEPPER, RECIPE, Story, listening

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PAGES = {"pdf": b"%PDF", "html": b"<p>", "json": b"{}"}


class Life(Story):
    """A job that is declined, interrupted, paused and resumed before it succeeds and is measured."""

    def __init__(self) -> None:
        job_id = new_id("ftjob")
        super().__init__({"id": job_id, "woodshed": {"dataset": f"ds-{job_id}"}})
        self.file_id = f"file-{job_id}"

    def facts(self) -> list[Event]:
        """Return the facts as they happened, a second apart."""
        return [
            msgspec.structs.replace(fact, at=NOON + timedelta(seconds=number))
            for number, fact in enumerate([*self._until_it_trains(), *self._until_it_is_paused(), *self._to_its_end()])
        ]

    def uploaded(self) -> FileUploaded:
        """Somebody sent a file."""
        return FileUploaded(
            tenant=self.tenant, at=NOON, file_id=self.file_id, purpose="fine-tune", size=1, sha256="a" * 64, uri="u"
        )

    def asked(self) -> DatasetAsked:
        """Somebody wants to train on it."""
        return DatasetAsked(
            tenant=self.tenant, at=NOON, dataset_id=self.dataset_id, file_id=self.file_id, uri="u",
            sha256="a" * 64, base_model=SHIPPED_MODEL, format="openai", split=SplitPlan(),
        )  # fmt: skip

    def submitted(self) -> JobSubmitted:
        """Somebody asked for a model."""
        return JobSubmitted(
            tenant=self.tenant, at=NOON, version=1, job_id=self.job_id, dataset_id=self.dataset_id,
            base_model=SHIPPED_MODEL, preset="balanced", training_file=self.file_id, seed=1, overrides=Overrides(),
        )  # fmt: skip

    def _until_it_trains(self) -> Iterator[Event]:
        run = {"tenant": self.tenant, "at": NOON, "run_id": self.run_id, "job_id": self.job_id}
        yield self.submitted()
        yield self.dataset_ready()
        yield self._planned(self.queued(1), 100)
        yield self._planned(self.dispatched(2), 200)
        yield DispatchDeclined(**run, version=1, device_id="cpu-0")
        yield self._planned(self.queued(3), 300)
        yield self._planned(self.dispatched(4), 400)
        yield RunStarted(**run, version=2, device_id="cpu-0", fence=1)
        yield RunStageReached(**run, version=3, stage="preprocessing")
        yield RunStageReached(**run, version=4, stage="training")

    def _until_it_is_paused(self) -> Iterator[Event]:
        job = {"tenant": self.tenant, "at": NOON, "job_id": self.job_id}
        run = job | {"run_id": self.run_id}
        yield self._saved(5, 12)
        yield RunInterrupted(**run, version=6, fence=1, cause="worker_killed", evidence="9", step=12, lost_steps=3)
        yield RunRecovered(**run, version=7, fence=2, step=12, seconds=4.0, interruptions=1, lost_steps=3)
        yield JobPauseAsked(**job, version=2)
        yield JobStopping(**run, version=5, offer_id="offer-1", why="pause")
        yield self._saved(8, 24)
        yield RunPaused(**run, version=9, step=24, lost_steps=0, why="pause", device_seconds=9.0)
        yield JobPaused(**job, version=6)

    def _to_its_end(self) -> Iterator[Event]:
        job = {"tenant": self.tenant, "at": NOON, "job_id": self.job_id}
        yield JobResumeAsked(**job, version=3)
        yield JobResumed(**job, version=7, status="queued")
        yield self._planned(self.queued(8), 800)
        yield self._planned(self.dispatched(9), 900)
        yield RunStageReached(**job, run_id=self.run_id, version=10, stage="training")
        yield self.finished(b"weights", version=11)
        yield msgspec.structs.replace(self.succeeded(version=10), interruptions=1, lost_steps=3)
        proof = job | {"evaluation_id": f"eval-{self.job_id}"}
        yield EvaluationStarted(**proof, version=1, run_id=self.run_id, suites=("dialogue",))
        yield SuiteScored(
            **proof, version=2, suite="dialogue", base=2.0, tuned=1.8, change=-0.1, low=-0.2, high=-0.05,
            verdict="better", items=20,
        )  # fmt: skip
        yield msgspec.structs.replace(self.report(PAGES), evaluation_id=proof["evaluation_id"])

    def _planned(self, fact: Any, steps: int) -> Event:
        plan = msgspec.structs.replace(ESTIMATE, steps=steps), msgspec.structs.replace(RECIPE, batch_size=steps // 10)
        planned: Event = msgspec.structs.replace(fact, estimate=plan[0], recipe=plan[1])
        return planned

    def _saved(self, version: int, step: int) -> CheckpointCommitted:
        return CheckpointCommitted(
            tenant=self.tenant, at=NOON, version=version, run_id=self.run_id, job_id=self.job_id,
            fence=1, step=step, uri="u", size=1, sha256="a" * 64, loss=2.0,
        )  # fmt: skip


async def _lived(database: Database, life: Life, order: Iterable[Event]) -> Any:
    """Let the gateway hear these facts, and return all that it shows of the job then."""
    async with database.transaction(life.tenant) as tx:
        await file_queries.add(tx, life.uploaded(), "chats.jsonl")
        await dataset_queries.add(tx, life.asked(), "chats.jsonl", None)
        await job_queries.add(tx, life.submitted(), {}, {})
        for fact in order:
            reaction = router.reactions[type_of(type(fact))]
            await reaction.handler(fact, tx, **{name: asyncio.Event() for name in reaction.needs})
        return await _shown(tx, life)


async def _shown(tx: Transaction, life: Life) -> Any:
    row = await job_queries.get(tx, life.job_id)
    assert row is not None
    lines = await story_queries.lines(tx, life.job_id, None, 100)
    saved = await story_queries.checkpoints(tx, life.job_id, None, 100)
    kept = await evidence_queries.of_job(tx, life.job_id)
    report = await result_queries.report(tx, life.job_id, "html")
    assert report is not None
    shown = {
        "job": msgspec.to_builtins(shapes.job_of(row)),
        "stage": statuses.stage_of(row),
        "story": [(line["at"], line["level"], line["message"]) for line in lines],
        "checkpoints": [each["step"] for each in saved],
        "evidence": [each["what"] for each in kept],
        "report": report["uri"],
    }
    return msgspec.json.decode(msgspec.json.encode(shown).replace(life.job_id.removeprefix("ftjob-").encode(), b"it"))


def _differences(wanted: dict[str, Any], seen: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in wanted.items():
        if isinstance(value, dict) and seen[name]:
            yield from _differences(value, seen[name])
        elif value != seen[name]:
            yield name, seen[name]


def _orders(facts: list[Event]) -> Iterator[list[Event]]:
    """Each fact's first delivery fails and it comes after the next one, or at the very end; then all in disorder."""
    for number, fact in enumerate(facts[:-1]):
        others = facts[:number] + facts[number + 1 :]
        yield [*others[: number + 1], fact, *others[number + 1 :]]
        yield [*others, fact]
    yield facts[::-1]
    for seed in range(15):
        dice = random.Random(seed)
        yield dice.sample(facts + dice.sample(facts, 8), len(facts) + 8)


async def test_every_order_of_a_jobs_facts_shows_the_same_job_in_the_end(world: World) -> None:
    database = (await world.platform("gateway")).db
    await bootstrap(database, "studio", PEPPER)
    life = Life()
    shown = await _lived(database, life, life.facts())
    assert (shown["job"]["status"], shown["stage"], shown["job"]["estimated_finish"]) == ("succeeded", "done", None)
    assert (shown["job"]["hyperparameters"]["batch_size"], shown["checkpoints"]) == (90, [24, 12])
    assert shown["story"][-1][2].startswith("Accepted")
    for number in range(len(list(_orders(life.facts())))):
        another = Life()
        order = list(_orders(another.facts()))[number]
        seen = await _lived(database, another, order)
        assert dict(_differences(shown, seen)) == {}, [type(fact).__name__ for fact in order]


async def test_a_fact_whose_first_reaction_fails_is_taken_in_when_it_comes_back(
    world: World, tmp_path: Path, monkeypatch: Any
) -> None:
    """The bus brings what failed again, after the facts that were told later."""
    failed: list[str] = []

    async def claim(tx: Transaction, event_id: str) -> bool:
        if event_id not in failed:
            failed.append(event_id)
            raise RuntimeError("the first delivery fails")
        return await claimed(tx, event_id)

    claimed = Transaction.claim
    async with listening(world, tmp_path) as gateway:
        monkeypatch.setattr(Transaction, "claim", claim)
        story = Story(await gateway.submit())
        facts = [story.dataset_ready(), story.queued(), story.dispatched(), story.finished(b""), story.succeeded()]
        for fact in (*facts, story.report(PAGES)):
            await world.tell(fact)
        path = f"/v1/fine_tuning/jobs/{story.job_id}"
        told = await gateway.until(f"{path}/events", lambda page: len(page["data"]) == len(facts) + 2, 60)
        job = await gateway.job(story.job_id)
    assert (job["status"], job["woodshed"]["stage"]) == ("succeeded", "done")
    assert [each["message"].split()[0] for each in told["data"]] == [
        "Report", "Succeeded:", "Adapter", "A", "Queued:", "Dataset", "Accepted;",
    ]  # fmt: skip
    assert len(failed) >= len(facts) + 2
