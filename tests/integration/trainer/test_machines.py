"""The keeper of machines on real servers, before RunPod's stand-in: what crashes and clouds may do to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import nats
import pytest
import structlog
from msgspec.structs import replace
from nats.aio.client import Client

from contracts.base import new_id
from contracts.jobs import Estimate, JobCancelled, JobDispatched, JobQueued
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import DeviceOffered, DeviceWithdrawn, DispatchDeclined, LeaseGranted, RunInterrupted, RunProgressed
from libs.db.database import now
from libs.service import Platform
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS
from libs.waking import Wake
from services.trainer import queries_machines
from services.trainer.control import Control
from services.trainer.domain.liveness import Silence
from services.trainer.handlers import router
from services.trainer.line import BEAT, HELLO, PROGRESS, Beat, DeviceFound, Hello, ProgressReport, encode
from services.trainer.loops import Loops
from services.trainer.machines import Keeper
from services.trainer.providers.pools import RunPodPool
from services.trainer.providers.provider import Spec
from services.trainer.providers.runpod import RunPod
from services.trainer.settings import TrainerSettings
from services.trainer.training.protocol import Progressed
from tests.integration.providers.api import NEVER, TOKEN, Answer, Fault
from tests.integration.providers.runpod_api import FakeRunPod

log = structlog.get_logger()

ESTIMATE = Estimate(
    seconds=30, seconds_low=10, seconds_high=90, cost=0.01, currency="EUR", memory_bytes=1, steps=30, tokens=1
)
RECIPE = Recipe(base_model=SHIPPED_MODEL)
POOL = "rented"
ROW = "SELECT key, handle, state, wanted, doubts, tries, ended_how FROM trainer.machine ORDER BY asked_at, key"


class Desk:
    """A control with a keeper that is moved by hand, and runners that are only a voice on NATS."""

    def __init__(self, world: World, platform: Platform, fake: FakeRunPod, voice: Client) -> None:
        self.world = world
        self.platform = platform
        self.fake = fake
        self.voice = voice
        settings = world.settings(TrainerSettings)
        assert isinstance(settings, TrainerSettings)
        wake = Wake()
        self.control = Control(platform.db, platform.bus, settings, Silence(15.0), wake)
        self.loops = Loops(self.control, platform.storage)
        router.resources |= {"settings": settings, "wake": wake}
        self.keeper = self.another()

    def another(self, **changes: object) -> Keeper:
        """Make a keeper; a new one remembers nothing of another."""
        given: dict[str, object] = {
            "gpus": ("NVIDIA RTX A6000",), "image": "woodshed/runner:1", "environment": {}, "price": 1.0,
            "server": self.fake.url, "most": 2, "patience_seconds": 0.0, "look_seconds": 0.05, "idle_seconds": 3600.0,
        }  # fmt: skip
        pool = RunPodPool(**(given | changes))  # type: ignore[arg-type]
        return Keeper(self.control, {POOL: pool}, {POOL: RunPod(pool, TOKEN, deadline=1.0)})

    async def look(self, times: int = 1, keeper: Keeper | None = None) -> None:
        """Let the keeper look so often, as the elected one; what was to be asked for later is due now."""
        keeper = keeper or self.keeper
        if not keeper.owner:
            async with self.platform.db.across_tenants() as tx:
                keeper.owner = await queries_machines.owner(tx)
        for _ in range(times):
            keeper._sweep_at.clear()
            await keeper.tend(POOL)

    async def rows(self, statement: str = ROW, *values: Any) -> list[dict[str, Any]]:
        async with self.platform.db.across_tenants() as tx:
            return [dict(row) for row in await tx.fetch(statement, *values)]

    async def due(self) -> None:
        await self.rows("UPDATE trainer.machine SET ask_at = now() - interval '1 second' RETURNING key")

    async def hears(self, fact: JobQueued | JobDispatched | JobCancelled) -> None:
        reaction = router.reactions[fact.__struct_config__.tag]  # type: ignore[index]
        async with self.platform.db.across_tenants() as tx:
            await reaction.handler(fact, tx, **router.given(reaction.needs))

    async def queued(self, version: int = 1) -> JobQueued:
        """A job waits for a device."""
        job = JobQueued(
            tenant="acme", at=now() - timedelta(seconds=1), version=version, job_id=new_id("ftjob"), recipe=RECIPE,
            estimate=ESTIMATE,
        )  # fmt: skip
        await self.hears(job)
        return job

    async def dispatch(self, job_id: str, device_id: str, offer_id: str, recipe: Recipe = RECIPE) -> str:
        """The scheduler gives the job a device; return the run."""
        run_id = new_id("run")
        await self.hears(
            JobDispatched(
                tenant="acme", at=now(), version=9, job_id=job_id, run_id=run_id, offer_id=offer_id,
                device_id=device_id, recipe=recipe, estimate=ESTIMATE, dataset_id="ds-1", dataset_digest="0" * 64,
                dataset_uri="acme/datasets/d1",
            )
        )  # fmt: skip
        return run_id

    async def dial_in(self, runner: str, *features: str) -> str:
        """A machine's runner says hello and beats; return its device."""
        device = DeviceFound(
            device_id=f"{runner}-cuda0", kind="A6000", precision="bfloat16", threads=8, memory_bytes=48 << 30,
            flops=1e14, torch_device="cuda:0", features=features,
        )  # fmt: skip
        await self.voice.request(HELLO, encode(Hello(runner=runner, devices=(device,))), timeout=30)
        await self.voice.request(BEAT, encode(Beat(runner=runner)), timeout=30)
        return device.device_id

    async def fall_silent(self, runner: str) -> None:
        """The runner has not been heard for so long that the arbiter took its devices offline."""
        await self.rows("UPDATE trainer.device SET online = false WHERE runner = $1 RETURNING device_id", runner)

    async def offered(self) -> tuple[str, str]:
        """Offer idle devices; return the offer that stands."""
        await self.loops.place()
        [row] = await self.rows("SELECT device_id, offer_id FROM trainer.device WHERE online AND offer_id IS NOT NULL")
        return row["device_id"], row["offer_id"]

    async def at_work(self) -> tuple[str, str]:
        """A job on a rented machine; return the machine's key and the run."""
        job = await self.queued()
        await self.look()
        [row] = await self.rows()
        self.fake.pods[row["handle"]]["status"] = "RUNNING"
        await self.dial_in(row["key"])
        run_id = await self.dispatch(job.job_id, *await self.offered())
        await self.look()
        return row["key"], run_id

    async def outbox(self, kind: type[Any]) -> list[Any]:
        """Return the facts of a kind that were told, relayed or not."""
        tag = str(kind.__struct_config__.tag)
        rows = await self.rows("SELECT body FROM trainer.outbox WHERE headers->>'ce-type' = $1 ORDER BY seq", tag)
        return [msgspec.json.decode(row["body"], type=kind) for row in rows]


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    fake = FakeRunPod()
    url = world.servers.nats_url
    voice = await nats.connect(url, user="runner", password=PASSWORDS["runner"], inbox_prefix="_INBOX.runner")
    async with fake.listening():
        desk = Desk(world, await world.platform("trainer"), fake, voice)
        listening = asyncio.create_task(desk.control.listen())
        await until(lambda: answers(desk))
        yield desk
        listening.cancel()
        await voice.close()


async def answers(desk: Desk) -> bool:
    try:
        await desk.voice.request(BEAT, encode(Beat(runner="nobody")), timeout=0.2)
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
        return False
    return True


async def until(look: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await look():
            await asyncio.sleep(0.02)


async def test_a_waiting_job_gets_a_machine_and_an_idle_machine_is_given_back(desk: Desk) -> None:
    await desk.look()
    assert desk.fake.pods == {}, "nothing waits, nothing is rented"
    key, run_id = await desk.at_work()
    assert desk.fake.names == [key]
    await desk.look(3)
    assert desk.fake.made == 1, "the job is placed; no second machine is asked for"
    await desk.hears(JobCancelled(tenant="acme", at=now(), version=10, job_id=(await job_of(desk, run_id))))
    await desk.rows("UPDATE trainer.lease SET ended_at = now() RETURNING fence")
    device, _ = await desk.offered()
    await desk.look(keeper=desk.another(idle_seconds=0.0))
    [withdrawn] = await desk.outbox(DeviceWithdrawn)
    assert withdrawn.device_id == device
    await desk.dial_in(key)
    await desk.loops.place()
    assert len(await desk.outbox(DeviceOffered)) == 2, "a machine that leaves offers nothing more"
    await desk.fall_silent(key)
    await desk.look(4)
    assert desk.fake.pods == {}
    [row] = await desk.rows()
    assert row["ended_how"] == "idle"


async def job_of(desk: Desk, run_id: str) -> str:
    [row] = await desk.rows("SELECT job_id FROM trainer.run WHERE run_id = $1", run_id)
    return str(row["job_id"])


async def test_a_cancelled_job_needs_no_machine_and_an_old_fact_brings_none(desk: Desk) -> None:
    job = await desk.queued(version=2)
    await desk.hears(JobCancelled(tenant="acme", at=now(), version=3, job_id=job.job_id))
    await desk.hears(job)
    await desk.look()
    assert desk.fake.made == 0


async def test_as_many_machines_as_wait_and_no_more_than_the_pool_allows(desk: Desk) -> None:
    for _ in range(5):
        await desk.queued()
    await desk.look(3)
    assert desk.fake.made == 2


async def test_a_crash_before_the_launch_makes_one_machine_and_loses_none(desk: Desk) -> None:
    """The key was written, the control died: whoever is next asks for it."""
    await desk.queued()
    await desk.look()
    desk.fake.pods.clear()
    desk.fake.made = 0
    await desk.rows("UPDATE trainer.machine SET handle = NULL, state = 'asked' RETURNING key")
    await desk.look(3, keeper=desk.another())
    [row] = await desk.rows()
    assert desk.fake.names == [row["key"]]
    assert (row["handle"], desk.fake.made) == (next(iter(desk.fake.pods)), 1)


async def test_a_crash_behind_the_launch_makes_no_second_machine(desk: Desk) -> None:
    """The machine is there, its handle was never written."""
    await desk.queued()
    await desk.look()
    await desk.rows("UPDATE trainer.machine SET handle = NULL, state = 'asked' RETURNING key")
    await desk.look(3, keeper=desk.another())
    [row] = await desk.rows()
    assert desk.fake.made == 1
    assert row["handle"] in desk.fake.pods


async def test_orphans_are_ended_and_strangers_are_left_alone(desk: Desk) -> None:
    key, _ = await desk.at_work()
    runpod = desk.keeper.providers[POOL]
    spec = Spec(owner=desk.keeper.owner, pool=POOL, kind="NVIDIA RTX A6000")
    await runpod.launch(spec, f"ws-{desk.keeper.owner}-rented-0badf00d")
    await runpod.launch(spec, "ws-ffffffff-rented-0badf00d")
    await runpod.launch(spec, "notebook of a colleague")
    await desk.look()
    assert sorted(desk.fake.names) == sorted([key, "ws-ffffffff-rented-0badf00d", "notebook of a colleague"])


async def test_a_pod_made_behind_an_error_and_listed_late_ends_as_an_orphan(desk: Desk) -> None:
    desk.fake.faults = [Fault("POST", Answer(500), after=True)]
    desk.fake.hidden = {"pod0001"}
    await desk.queued()
    await desk.look()
    assert (await desk.rows())[0]["handle"] is None
    await desk.due()
    await desk.look()
    assert len(desk.fake.pods) == 2, "the API showed no first pod, so a second was made"
    desk.fake.hidden = set()
    await desk.look()
    [row] = await desk.rows()
    assert list(desk.fake.pods) == [row["handle"]] == ["pod0002"]


async def test_a_pod_made_behind_an_error_is_the_only_one(desk: Desk) -> None:
    desk.fake.faults = [Fault("POST", Answer(503), after=True)]
    await desk.queued()
    await desk.look(3)
    [row] = await desk.rows()
    assert list(desk.fake.pods) == [row["handle"]]
    assert desk.fake.made == 1


async def test_a_rate_limit_is_waited_out(desk: Desk) -> None:
    await desk.queued()
    await desk.look()
    await desk.rows("UPDATE trainer.machine SET handle = NULL RETURNING key")
    desk.fake.faults = [Fault("GET", Answer(429, None, {"retry-after": "120"}))]
    before = now()
    await desk.look()
    [row] = await desk.rows("SELECT ask_at, tries FROM trainer.machine")
    assert row["tries"] == 1
    assert row["ask_at"] - before >= timedelta(seconds=119)
    asked = len(desk.fake.asked)
    await desk.keeper._launch((await desk.keeper._kept(POOL))[0])
    assert len(desk.fake.asked) == asked


async def test_flapping_states_replace_nothing(desk: Desk) -> None:
    await desk.at_work()
    [row] = await desk.rows()
    for status in ("EXITED", "RUNNING", "EXITED", "STARTING", "EXITED", "RUNNING"):
        await desk.fall_silent(row["key"])
        desk.fake.pods[row["handle"]]["status"] = status
        await desk.look()
    assert desk.fake.made == 1
    assert await desk.outbox(RunInterrupted) == []


async def test_a_machine_whose_runner_is_heard_is_kept_whatever_its_provider_says(desk: Desk) -> None:
    key, _ = await desk.at_work()
    [row] = await desk.rows()
    desk.fake.pods[row["handle"]]["status"] = "EXITED"
    for _ in range(3):
        await desk.voice.request(BEAT, encode(Beat(runner=key)), timeout=30)
        await desk.look()
    assert list(desk.fake.pods) == [row["handle"]]
    assert await desk.outbox(RunInterrupted) == []


@pytest.mark.parametrize("status", ["EXITED", "ERROR", ""], ids=["exited", "error", "gone"])
async def test_a_machine_that_ended_is_removed_its_run_goes_on_and_another_comes(desk: Desk, status: str) -> None:
    key, run_id = await desk.at_work()
    [row] = await desk.rows()
    await desk.fall_silent(key)
    if status:
        desk.fake.pods[row["handle"]]["status"] = status
    else:
        del desk.fake.pods[row["handle"]]
    await desk.look(2)
    [interrupted] = await desk.outbox(RunInterrupted)
    assert (interrupted.run_id, interrupted.cause) == (run_id, "lost_worker")
    await desk.look()
    old, new = await desk.rows()
    assert old["ended_how"] in ("exited", "gone")
    assert desk.fake.names == [new["key"]]
    desk.fake.pods[new["handle"]]["status"] = "RUNNING"
    await desk.dial_in(new["key"])
    await desk.loops.place()
    assert len(await desk.outbox(LeaseGranted)) == 2


async def test_a_machine_that_goes_while_it_is_provisioned_is_replaced(desk: Desk) -> None:
    await desk.queued()
    await desk.look()
    desk.fake.pods.clear()
    await desk.look(2)
    assert (await desk.rows())[0]["ended_how"] == "gone"
    await desk.look()
    assert desk.fake.pods == {}, "after one that came to nothing there is a pause"
    await desk.rows("UPDATE trainer.machine SET ended_at = ended_at - interval '10 seconds' RETURNING key")
    await desk.look()
    assert len(desk.fake.pods) == 1


async def test_a_provider_that_never_answers_changes_nothing(desk: Desk) -> None:
    await desk.at_work()
    [before] = await desk.rows()
    await desk.fall_silent(before["key"])
    desk.fake.faults = [Fault("GET", NEVER)] * 4
    await desk.look(2)
    assert desk.fake.faults == []
    [after] = await desk.rows()
    assert after == before
    assert await desk.outbox(RunInterrupted) == []


async def test_a_refused_machine_is_not_asked_for_without_end(desk: Desk) -> None:
    keeper = desk.another(image="")
    await desk.queued()
    await desk.look(5, keeper=keeper)
    [row] = await desk.rows()
    assert row["ended_how"].startswith("refused: RunPod")
    assert desk.fake.count("POST") == 1


async def test_one_whose_runner_never_dials_in_is_given_up(desk: Desk) -> None:
    keeper = desk.another(boot_seconds=0.01)
    await desk.queued()
    await desk.look(keeper=keeper)
    [row] = await desk.rows()
    desk.fake.pods[row["handle"]]["status"] = "RUNNING"
    await desk.look(5, keeper=keeper)
    assert desk.fake.pods == {}
    [row] = await desk.rows()
    assert row["ended_how"] == "silent", "and the next one waits a little"


async def test_of_two_controls_one_keeps_machines_and_the_other_takes_over(desk: Desk) -> None:
    await desk.queued()
    keepers = [desk.another(), desk.another()]
    first, second = [asyncio.create_task(keeper.run()) for keeper in keepers]
    await until(lambda: made(desk, 1))
    elected = [bool(keeper.owner) for keeper in keepers]
    assert sorted(elected) == [False, True]
    await desk.queued()
    await until(lambda: made(desk, 2))
    (first if elected[0] else second).cancel()
    desk.fake.pods.clear()
    await until(lambda: ended(desk, 2))
    (second if elected[0] else first).cancel()


async def made(desk: Desk, number: int) -> bool:
    return len([row for row in await desk.rows() if row["handle"]]) == number


async def ended(desk: Desk, number: int) -> bool:
    return len([row for row in await desk.rows() if row["ended_how"]]) >= number


async def test_a_run_on_a_rented_machine_costs_what_the_machine_costs(desk: Desk) -> None:
    _, run_id = await desk.at_work()
    await desk.rows("UPDATE trainer.lease SET granted_at = granted_at - interval '1 hour' RETURNING fence")
    [lease] = await desk.rows("SELECT fence, runner FROM trainer.lease")
    seen = Progressed(
        step=1, total_steps=30, epoch=0.1, loss=2.0, learning_rate=1e-4, grad_norm=1.0, tokens=10,
        tokens_per_second=1.0, samples_per_second=1.0, eta_seconds=1.0, rss_bytes=1, token_accuracy=0.5,
        trained_tokens=5,
    )  # fmt: skip
    said = ProgressReport(runner=lease["runner"], run_id=run_id, fence=lease["fence"], seen=seen)
    await desk.voice.publish(PROGRESS, encode(said))
    [progressed] = await desk.world.told(RunProgressed)
    assert progressed.cost == pytest.approx(0.40, rel=0.01)


async def test_the_offer_of_a_rented_device_is_like_any_other(desk: Desk) -> None:
    key, _ = await desk.at_work()
    [offer] = await desk.outbox(DeviceOffered)
    assert offer.device_id.startswith(key)


async def test_a_recipe_that_needs_more_than_a_runner_understands_is_not_given_to_it(desk: Desk) -> None:
    pairs = replace(RECIPE, objective="dpo")
    await desk.dial_in("old")
    await desk.dispatch((await desk.queued()).job_id, *await desk.offered(), pairs)
    assert len(await desk.outbox(DispatchDeclined)) == 1, "whatever a scheduler thinks of it"
    await desk.fall_silent("old")
    await desk.dial_in("new", "dpo")
    run_id = await desk.dispatch((await desk.queued()).job_id, *await desk.offered(), pairs)
    assert [offer.features for offer in await desk.outbox(DeviceOffered)] == [(), ("dpo",)]
    assert {offer.processor for offer in await desk.outbox(DeviceOffered)} == {"cuda"}
    assert await desk.rows("SELECT run_id, runner FROM trainer.lease") == [{"run_id": run_id, "runner": "new"}]
