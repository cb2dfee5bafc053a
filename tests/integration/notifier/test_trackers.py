"""A job that asks for Weights & Biases, and a server that speaks as theirs: every step once, whatever happens."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.base import encode, subject_of
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import RunProgressed
from contracts.trackers import Labels, Measured, Tracked, TrackerRemarked
from libs.errors import Busy
from libs.testing.platform import World
from libs.waking import Wake
from services.notifier.app import build
from services.notifier.domain import tracking as domain
from services.notifier.domain.retry import Backoff
from services.notifier.handlers import follow, owe_notices
from services.notifier.settings import Settings
from services.notifier.tracking import Tracking
from services.notifier.wandb import Wandb
from tests.integration.gateway.conftest import Gateway, Story, listening
from tests.integration.notifier.house import Clock, Notices
from tests.integration.notifier.wandb_server import LOST, FakeWandb, Run
from tests.unit.scheduler import facts

KEY = "0123456789abcdef0123456789abcdef01234567"
ASKED = {"project": "money-coach", "name": "first try", "entity": "acme research", "tags": ["coach", "try/1"]}
JOB = "ftjob-1"
AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
async def wandb() -> AsyncIterator[FakeWandb]:
    async with FakeWandb(KEY).listening() as server:
        yield server


async def _shows(wandb: FakeWandb, job_id: str, seen: Callable[[Run], bool]) -> Run:
    """Wait until a run looks as expected, longer than somebody who died would keep others from it."""
    try:
        async with asyncio.timeout(180):
            while not (job_id in wandb.runs and seen(wandb.runs[job_id])):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it still shows {wandb.runs}") from None
    return wandb.runs[job_id]


def _steps(run: Run) -> list[int]:
    return [line["_step"] for line in run.history]


@asynccontextmanager
async def _notifier(world: World, wandb: FakeWandb) -> AsyncIterator[None]:
    """Run the notifier as an installation does, anew each time."""
    platform = await world.platform("notifier")
    settings = world.settings(Settings, wandb_url=wandb.url)
    assert isinstance(settings, Settings)
    async with world.service(await build(settings, platform), platform):
        yield


async def _measure(world: World, *measured: RunProgressed) -> None:
    for fact in measured:
        await world.js.publish(subject_of(fact), encode(fact), stream="TELEMETRY")


async def _gives_a_key(gateway: Gateway) -> None:
    """Somebody gives the organisation's key, which nobody reads again: not in the database, and of it only the end."""
    path = "/v1/wandb_key"
    assert (await gateway.http.get(path)).json()["available"] is False
    given = (await gateway.http.put(path, json={"api_key": KEY})).json()
    shown = {"object": "wandb_key", "api_key": "…4567", "available": True}
    assert given == (await gateway.http.get(path)).json() == shown
    async with gateway.platform.db.across_tenants() as tx:
        row = await tx.fetchrow("SELECT * FROM gateway.wandb_key")
        assert row is not None
        assert KEY not in str(dict(row))
    stranger = await gateway.stranger()
    async with stranger:
        assert (await stranger.get(path)).json()["available"] is False


async def test_a_run_shows_every_step_once_though_notifier_and_training_were_restarted(
    world: World, wandb: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain, "EVERY", 0.05)
    async with listening(world, tmp_path) as gateway:
        await _gives_a_key(gateway)
        file = (await gateway.upload(filename="private name.jsonl"))["id"]
        job = await gateway.openai.fine_tuning.jobs.create(
            model=SHIPPED_MODEL,
            training_file=file,
            integrations=[{"type": "wandb", "wandb": ASKED}],  # type: ignore[typeddict-item]
            metadata={"team": "private team"},
        )
        assert job.integrations
        assert [each.model_dump() for each in job.integrations] == [{"type": "wandb", "wandb": ASKED}]
        story = Story(await gateway.job(job.id))
        for fact in (story.queued(), story.dispatched()):
            await world.tell(fact)
        async with _notifier(world, wandb):
            evaluated = msgspec.structs.replace(story.progressed(3), eval_loss=2.5)
            await _measure(world, *map(story.progressed, (1, 2, 3)), evaluated, *map(story.progressed, (4, 5)))
            run = await _shows(wandb, job.id, lambda run: _steps(run) == [1, 2, 3, 4])
            assert run.state == "running"
        again = [story.progressed(step, loss=1.0, attempt=2) for step in (3, 4, 5, 6, 7)]
        await _measure(world, *again)
        async with _notifier(world, wandb):
            await _shows(wandb, job.id, lambda run: _steps(run) == [1, 2, 3, 4, 5, 6])
            await _measure(world, story.progressed(8, attempt=2))
            await world.tell(story.succeeded())
            await _shows(wandb, job.id, lambda run: run.state == "finished")
    assert list(wandb.runs) == [job.id]
    assert _steps(run) == list(range(1, 9))
    assert (run.entity, run.project, run.name) == (ASKED["entity"], ASKED["project"], ASKED["name"])
    assert run.tags == ["woodshed/finetune", f"woodshed/{SHIPPED_MODEL}", f"woodshed/{job.id}", "coach", "try/1"]
    config = {name: value["value"] for name, value in run.config.items()}
    assert (config["job_id"], config["base_model"], config["training_file"]) == (job.id, SHIPPED_MODEL, file)
    assert (config["dataset"], config["epochs"], config["rank"]) == (story.dataset_id, 3, 16)
    third, fourth = run.history[2:4]
    assert (third["train_loss"], third["valid_loss"], third["train_mean_token_accuracy"]) == (2.0, 2.5, 0.5)
    assert (third["learning_rate"], third["grad_norm"], third["tokens_per_second"]) == (2e-4, 1.0, 120.0)
    assert "valid_loss" not in fourth
    assert (run.summary["valid_loss"], run.summary["_step"]) == (2.5, 8)
    assert "private" not in "".join(wandb.heard)
    assert await world.all_told(TrackerRemarked) == []


class House:
    """The notifier's tracking on a real database: what the gateway would say, and a clock moved by hand."""

    def __init__(self, notices: Notices, wandb: FakeWandb, **labels: Any) -> None:
        self.notices = notices
        self.clock = Clock()
        self.labels = Labels(**({"project": "coach"} | labels))
        self.measured: list[int] = []
        self.ended = ""
        self.own_key = ""
        self.away = False
        self.wandb = Wandb(wandb.url, KEY)
        self.loop = self.started()

    def started(self) -> Tracking:
        """Return the loop as a new process has it."""
        backoff = Backoff(first=10, longest=10, jitter=lambda: 1.0)
        return Tracking(self.notices.database, self.wandb, self._answer, self._owe, backoff, clock=self.clock)

    async def submits(self) -> None:
        """Somebody submits a job that a tracker shall show."""
        wish = facts.submitted(job_id=JOB, trackers=("wandb",))
        async with self.notices.database.transaction(wish.tenant) as tx:
            await follow(wish, tx, Wake())
            await follow(wish, tx, Wake())

    async def turns(self) -> int:
        """Make every turn that is due now; return how many."""
        made = 0
        while turn := await self.loop.take():
            await self.loop.follow(turn)
            made += 1
        return made

    async def later(self, seconds: float = 70.0) -> None:
        """Let time pass and make what is due then."""
        self.clock.moves(seconds)
        assert await self.turns()

    async def state(self) -> str:
        """Return what became of it."""
        async with self.notices.database.across_tenants() as tx:
            return str(await tx.fetchval("SELECT state FROM notifier.tracked"))

    async def remarks(self) -> list[tuple[str, str]]:
        """Return what people were told."""
        return [(each.code, each.level) for each in await self.notices.told(TrackerRemarked)]

    async def _answer(self, tenant: str, job_id: str, after: int) -> Tracked:
        if self.away:
            raise Busy("The gateway does not answer.")
        steps = [_measured(step) for step in self.measured if step > after]
        return Tracked(
            labels=self.labels,
            created_at=AT,
            base_model=SHIPPED_MODEL,
            dataset_id="ds-1",
            training_file="file-1",
            validation_file="",
            preset="quick",
            seed=42,
            recipe=Recipe(base_model=SHIPPED_MODEL),
            began=AT,
            steps=tuple(steps[:2]),
            more=len(steps) > 2,
            ended=self.ended if len(steps) <= 2 else "",
            api_key=self.own_key,
        )

    async def _owe(self, fact: TrackerRemarked, tx: Any) -> None:
        await owe_notices(fact, tx, ("slack",))


def _measured(step: int) -> Measured:
    at = AT + timedelta(seconds=step)
    return Measured(
        step=step, at=at, epoch=0.1, train_loss=2.0, learning_rate=1e-4, grad_norm=1.0, tokens=9, tokens_per_second=1.0
    )


@pytest.fixture
def house(notices: Notices, wandb: FakeWandb) -> House:
    return House(notices, wandb)


async def test_who_is_stopped_in_the_middle_of_a_turn_leaves_the_job_to_the_next_at_once(house: House) -> None:
    asked = asyncio.Event()

    async def silent(*_: object) -> Tracked:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody wakes it")

    await house.submits()
    house.loop.ask = silent
    stopped = asyncio.create_task(house.loop.run())
    await asked.wait()
    assert await house.started().take() is None, "one that works has it for itself"
    stopped.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stopped
    assert await house.started().take()


async def test_an_answer_that_got_lost_and_a_lost_note_of_ours_write_no_line_twice(
    house: House, wandb: FakeWandb
) -> None:
    await house.submits()
    house.measured = [1, 2]
    await house.turns()
    house.measured += [4, 5, 7]
    wandb.troubles = [LOST]
    await house.later()
    assert _steps(wandb.runs[JOB]) == [1, 2, 4, 5]
    await house.later()
    assert _steps(wandb.runs[JOB]) == [1, 2, 4, 5, 7]
    async with house.notices.database.across_tenants() as tx:
        await tx.execute("UPDATE notifier.tracked SET step = 1, lines = 1")
    house.measured += [8]
    house.loop = house.started()
    await house.later()
    assert _steps(wandb.runs[JOB]) == [1, 2, 4, 5, 7, 8]
    assert [line["_runtime"] for line in wandb.runs[JOB].history] == [1.0, 2.0, 4.0, 5.0, 7.0, 8.0]
    assert await house.remarks() == [("unreachable", "info")]


async def test_a_key_that_is_refused_is_told_once_and_when_it_is_mended_nothing_is_missing(
    house: House, wandb: FakeWandb
) -> None:
    wandb.key = "another"
    await house.submits()
    house.measured = [1, 2, 3]
    for _ in range(3):
        await house.later()
    assert (wandb.runs, await house.remarks()) == ({}, [("refused", "warn")])
    [notice] = await house.notices.records()
    assert (notice["about"], notice["job_id"]) == ("remark:tracker_refused", JOB)
    assert "it refuses the key (401)" in json.loads(notice["fact"])["message"]
    wandb.key, house.ended = KEY, "failed"
    await house.later()
    run = wandb.runs[JOB]
    assert (_steps(run), run.state, await house.state()) == ([1, 2, 3], "failed", "finished")
    assert not await house.loop.take()


async def test_an_organisations_own_key_is_told_with_before_the_installations_and_without_any_nothing_is(
    notices: Notices, wandb: FakeWandb
) -> None:
    house = House(notices, wandb)
    house.wandb._key, wandb.key = "", "own" * 10
    await house.submits()
    house.measured = [1]
    await house.turns()
    assert (wandb.heard, await house.remarks()) == ([], [("refused", "warn")])
    house.own_key = "own" * 10
    await house.later()
    assert _steps(wandb.runs[JOB]) == [1]


async def test_a_tracker_that_stays_away_is_given_up_three_days_after_the_end_and_that_is_told(
    house: House, wandb: FakeWandb
) -> None:
    await house.submits()
    house.measured = [1]
    wandb.troubles = [503] * 100
    await house.turns()
    house.clock.moves(5 * 86_400)
    await house.turns()
    assert (await house.state(), await house.remarks()) == ("open", [("unreachable", "info")])
    house.ended = "succeeded"
    await house.later()
    assert (await house.state(), await house.remarks()) == ("lost", [("unreachable", "info"), ("lost", "warn")])


async def test_a_job_that_never_trained_makes_no_run_and_one_cancelled_while_training_is_killed(
    house: House, wandb: FakeWandb
) -> None:
    await house.submits()
    house.away = True
    await house.turns()
    house.away = False
    await house.later()
    assert wandb.heard == []
    house.measured = [1]
    await house.later()
    run = wandb.runs[JOB]
    beats = run.beats
    await house.later(2.0)
    assert run.beats == beats
    await house.later(31.0)
    assert (run.beats, run.state) == (beats + 1, "running")
    house.ended = "cancelled"
    await house.later()
    assert (run.state, run.name, run.entity, await house.state()) == ("killed", JOB, "me", "finished")


async def test_a_run_that_was_removed_there_is_told_anew_and_labels_changed_there_stay(
    house: House, wandb: FakeWandb
) -> None:
    await house.submits()
    house.measured = [1, 2, 3]
    await house.turns()
    wandb.runs[JOB].tags, wandb.runs[JOB].name = ["mine"], "renamed"
    house.loop = house.started()
    house.measured += [4]
    await house.later()
    assert (_steps(wandb.runs[JOB]), wandb.runs[JOB].name, wandb.runs[JOB].tags) == ([1, 2, 3, 4], "renamed", ["mine"])
    wandb.runs.clear()
    house.loop = house.started()
    await house.later()
    assert _steps(wandb.runs[JOB]) == [1, 2, 3, 4]


@pytest.mark.parametrize("labels", [{"entity": "strangers"}, {"project": "../../graphql?x=#"}])
async def test_what_the_job_names_cannot_lead_elsewhere(
    notices: Notices, wandb: FakeWandb, labels: dict[str, str]
) -> None:
    house = House(notices, wandb, **labels)
    await house.submits()
    house.measured, house.ended = [1], "succeeded"
    await house.turns()
    if "entity" in labels:
        assert (wandb.runs, await house.remarks()) == ({}, [("refused", "warn")])
    else:
        assert (_steps(wandb.runs[JOB]), wandb.runs[JOB].project) == ([1], labels["project"])
