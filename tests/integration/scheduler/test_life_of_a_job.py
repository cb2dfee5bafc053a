"""A job from submission to its end, fact by fact."""

from typing import Any

import msgspec
import pytest

from contracts.jobs import (
    EstimateJob,
    JobCancelled,
    JobDispatched,
    JobEstimated,
    JobFailed,
    JobQueued,
    JobSucceeded,
    Overrides,
    Remedy,
)
from contracts.recipes import SHIPPED_MODEL
from libs.errors import Conflict, Rejected
from libs.testing.platform import World
from services.scheduler.app import build
from services.scheduler.domain.estimate import Rate
from services.scheduler.handlers import foretell
from services.scheduler.settings import Settings
from tests.integration.scheduler.house import Scheduler
from tests.unit.scheduler import facts

ENDS = (JobSucceeded, JobFailed, JobCancelled)


async def dispatched(scheduler: Scheduler, **wish: Any) -> JobDispatched:
    """Bring a job onto a device and return its dispatch."""
    await scheduler.hears(facts.submitted(**wish), facts.ready(), facts.offered())
    return (await scheduler.told(JobDispatched))[-1]


async def test_a_wish_travels_over_the_bus_to_its_end(world: World) -> None:
    settings = world.settings(Settings)
    assert isinstance(settings, Settings)
    platform = await world.platform("scheduler")
    async with world.service(await build(settings, platform), platform):
        for fact in (facts.submitted(suffix="Coach"), facts.ready(), facts.offered()):
            await world.tell(fact)
        [dispatch] = await world.told(JobDispatched)
        estimated = await world_asks(world)
        await world.tell(facts.started(dispatch.run_id))
        await world.tell(facts.finished(dispatch.run_id))
        [success] = await world.told(JobSucceeded)
        assert len(await world.told(JobQueued)) == 1
    await platform.db.close()
    assert success.model == f"ft:{SHIPPED_MODEL}:acme:coach:{'ftjob-1'[-8:]}"
    assert (success.trained_tokens, success.seconds) == (18_000, 120.0)
    assert success.cost == pytest.approx(140 / 3600 * 0.06, abs=1e-4)
    assert estimated.recipe.batch_size == 3


async def world_asks(world: World) -> JobEstimated:
    question = EstimateJob(
        tenant="acme", dataset_id="dataset-1", base_model=SHIPPED_MODEL, preset="quick", overrides=Overrides()
    )
    reply = await world.nc.request(question.subject, msgspec.json.encode(question), timeout=30)
    return msgspec.json.decode(reply.data, type=JobEstimated)


async def test_what_is_dispatched_is_the_whole_recipe_and_the_dataset_by_content(scheduler: Scheduler) -> None:
    dispatch = await dispatched(scheduler, overrides=Overrides(epochs=5, rank=4))
    assert (dispatch.recipe.epochs, dispatch.recipe.rank, dispatch.recipe.seed) == (5, 4, 7)
    assert dispatch.recipe.batch_size == 3
    assert (dispatch.offer_id, dispatch.device_id) == ("offer-1", "cpu-0")
    assert (dispatch.dataset_digest, dispatch.dataset_uri) == (facts.SHA, "acme/datasets/a")
    assert dispatch.estimate.steps == 34 * 5


async def test_a_dataset_may_be_ready_before_the_wish_arrives(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.ready(), facts.submitted())
    assert len(await scheduler.told(JobQueued)) == 1


async def test_a_refused_dataset_ends_the_jobs_that_wait_and_those_that_come(scheduler: Scheduler) -> None:
    await scheduler.hears(
        facts.submitted(job_id="early"), facts.refused(), facts.submitted(job_id="late"), facts.ready()
    )
    failures = await scheduler.told(JobFailed)
    assert [(each.job_id, each.reason) for each in failures] == [("early", "no_examples"), ("late", "no_examples")]
    assert failures[0].message == "No line of the file can train."
    assert "upload it again" in failures[0].fix
    assert failures[0].remedy
    assert (failures[0].remedy.kind, failures[0].remedy.sentence) == ("change_data", failures[0].fix)


async def test_an_impossible_recipe_ends_at_once_with_its_fix(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.submitted(preset="gigantic"), facts.ready(), facts.offered())
    [failure] = await scheduler.told(JobFailed)
    assert failure.reason == "unknown_preset"
    assert "quick" in failure.fix
    assert await scheduler.told(JobQueued) == []


async def test_a_declined_job_keeps_its_place_before_younger_ones(scheduler: Scheduler) -> None:
    first = await dispatched(scheduler)
    await scheduler.hears(facts.submitted(job_id="younger", at=facts.AT.replace(hour=13)))
    await scheduler.hears(facts.declined(first.run_id), facts.offered(version=2, offer_id="offer-2"))
    told = await scheduler.told(JobDispatched)
    assert [each.job_id for each in told] == ["ftjob-1", "ftjob-1"]
    assert told[1].run_id != first.run_id


async def test_facts_about_a_declined_run_change_nothing(scheduler: Scheduler) -> None:
    old = await dispatched(scheduler)
    await scheduler.hears(facts.declined(old.run_id), facts.offered(version=2, offer_id="offer-2"))
    await scheduler.hears(facts.declined(old.run_id), facts.finished(old.run_id), facts.failed(old.run_id))
    assert [len(await scheduler.told(kind)) for kind in (*ENDS, JobDispatched)] == [0, 0, 0, 2]


async def test_a_withdrawn_offer_gets_no_job_whichever_fact_came_first(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.offered(), facts.withdrawn())
    await scheduler.hears(facts.withdrawn(device_id="cpu-1", offer_id="offer-9"))
    await scheduler.hears(facts.offered(device_id="cpu-1", offer_id="offer-9"))
    await scheduler.hears(facts.submitted(), facts.ready())
    assert await scheduler.told(JobDispatched) == []


async def test_a_job_that_is_too_large_waits_for_a_larger_device(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.submitted(), facts.ready(), facts.offered(memory_bytes=10**9))
    assert await scheduler.told(JobDispatched) == []
    await scheduler.hears(facts.offered(device_id="cpu-1", offer_id="offer-2"))
    [dispatch] = await scheduler.told(JobDispatched)
    assert dispatch.device_id == "cpu-1"


async def test_all_weights_that_fit_no_device_are_refused_with_the_method_that_would(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.ready(), facts.offered(memory_bytes=4 * 10**9))
    await scheduler.hears(facts.offered(version=2, offer_id="offer-2", memory_bytes=10**9))
    with pytest.raises(Rejected, match=r"largest device known here has 4\.0 GB"):
        await estimate(scheduler, method="full")
    await scheduler.hears(facts.submitted(overrides=Overrides(method="full")))
    [failure] = await scheduler.told(JobFailed)
    assert failure.reason == "too_large"
    assert failure.remedy
    assert failure.remedy.overrides == Overrides(method="lora")
    await scheduler.hears(facts.offered(version=3, offer_id="offer-3", memory_bytes=24 * 10**9))
    await scheduler.hears(facts.submitted(job_id="ftjob-2", overrides=Overrides(method="full")))
    [dispatch] = await scheduler.told(JobDispatched)
    assert (dispatch.job_id, dispatch.recipe.method) == ("ftjob-2", "full")


async def test_a_base_in_four_bits_is_refused_where_no_device_has_them(scheduler: Scheduler) -> None:
    bits = Overrides(quantization="nf4")
    await scheduler.hears(facts.ready(), facts.offered(features=("dpo",)), facts.submitted(overrides=bits))
    [failure] = await scheduler.told(JobFailed)
    assert failure.reason == "unsupported_quantization"
    assert failure.remedy
    assert failure.remedy.overrides == Overrides(quantization="none")
    await scheduler.hears(facts.offered(version=2, offer_id="offer-2", features=("dpo", "nf4")))
    await scheduler.hears(facts.submitted(job_id="ftjob-2", overrides=bits))
    [dispatch] = await scheduler.told(JobDispatched)
    assert (dispatch.job_id, dispatch.recipe.quantization) == ("ftjob-2", "nf4")


async def test_a_file_that_the_method_does_not_learn_from_is_refused_with_the_method_that_does(
    scheduler: Scheduler,
) -> None:
    await scheduler.hears(facts.ready(format="openai_preference"), facts.offered())
    with pytest.raises(Rejected, match="preference pairs, and the method supervised"):
        await estimate(scheduler)
    await scheduler.hears(facts.submitted())
    [failure] = await scheduler.told(JobFailed)
    assert failure.reason == "wrong_method"
    assert "method.type=dpo" in failure.fix
    await scheduler.hears(facts.submitted(job_id="ftjob-2", overrides=Overrides(objective="dpo", beta=0.2)))
    assert not await scheduler.told(JobDispatched), "the runner is older than dpo, and would train something else"
    await scheduler.hears(facts.offered(version=2, device_id="cpu-1", offer_id="offer-2", features=("dpo",)))
    [dispatch] = await scheduler.told(JobDispatched)
    assert (dispatch.job_id, dispatch.recipe.objective, dispatch.recipe.beta) == ("ftjob-2", "dpo", 0.2)
    assert dispatch.device_id == "cpu-1"


async def test_each_method_learns_from_its_own_runs(scheduler: Scheduler) -> None:
    run = (await dispatched(scheduler, overrides=Overrides(method="full"))).run_id
    lora = await estimate(scheduler)
    await scheduler.hears(facts.finished(run, train_seconds=900.0, memory_bytes=9 * 10**9))
    full = (await estimate(scheduler, method="full")).estimate
    assert (full.seconds, full.memory_bytes) == (pytest.approx(900.0), pytest.approx(9e9))
    assert await estimate(scheduler) == lora


async def test_the_queue_is_one_for_all_tenants(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.ready(), facts.ready(tenant="zenith"))
    await scheduler.hears(facts.submitted(), facts.submitted(tenant="zenith", priority="high"))
    await scheduler.hears(facts.offered())
    [dispatch] = await scheduler.told(JobDispatched)
    assert dispatch.tenant == "zenith"


async def test_a_job_cancelled_before_its_wish_arrives_is_never_queued(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.cancel_asked(), facts.submitted(), facts.ready(), facts.cancel_asked())
    assert len(await scheduler.told(JobCancelled)) == 1
    assert await scheduler.told(JobQueued) == []


async def test_a_cancelled_job_frees_its_turn_for_the_next(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.submitted(), facts.submitted(job_id="next"), facts.ready(), facts.cancel_asked())
    await scheduler.hears(facts.offered())
    assert [each.job_id for each in await scheduler.told(JobDispatched)] == ["next"]


async def test_of_finish_and_cancel_the_first_in_the_database_wins(scheduler: Scheduler) -> None:
    run = (await dispatched(scheduler)).run_id
    await scheduler.hears(facts.finished(run), facts.cancel_asked(), facts.failed(run), facts.finished(run))
    assert [len(await scheduler.told(kind)) for kind in ENDS] == [1, 0, 0]


async def test_a_failed_run_ends_the_job_with_the_trainers_words(scheduler: Scheduler) -> None:
    run = (await dispatched(scheduler)).run_id
    await scheduler.hears(facts.started(run), facts.failed(run))
    [failure] = await scheduler.told(JobFailed)
    assert (failure.reason, failure.fix, failure.remedy) == ("out_of_memory", "Choose a smaller rank.", None)


async def test_the_trainers_typed_fix_reaches_the_job_unchanged(scheduler: Scheduler) -> None:
    run = (await dispatched(scheduler)).run_id
    less = Remedy(
        kind="change_settings", title="Less memory", sentence="Choose a smaller rank.", overrides=Overrides(rank=4)
    )
    await scheduler.hears(facts.failed(run, remedy=less))
    [failure] = await scheduler.told(JobFailed)
    assert failure.remedy == less


async def test_the_facts_of_a_job_are_numbered_without_a_gap(scheduler: Scheduler) -> None:
    run = (await dispatched(scheduler)).run_id
    await scheduler.hears(facts.finished(run))
    kinds = (JobQueued, JobDispatched, JobSucceeded)
    assert [each.version for kind in kinds for each in await scheduler.told(kind)] == [1, 2, 3]


async def test_estimates_learn_from_finished_runs_but_not_from_interrupted_ones(scheduler: Scheduler) -> None:
    run = (await dispatched(scheduler)).run_id
    before = await estimate(scheduler)
    await scheduler.hears(facts.finished(run, train_seconds=300.0))
    assert (await estimate(scheduler)).estimate.seconds == pytest.approx(300.0)
    assert before.estimate.seconds != pytest.approx(300.0)
    await scheduler.hears(facts.submitted(job_id="second"), facts.offered(version=2, offer_id="offer-2"))
    second = (await scheduler.told(JobDispatched))[-1].run_id
    await scheduler.hears(facts.finished(second, job_id="second", train_seconds=9000.0, interruptions=2))
    assert (await estimate(scheduler)).estimate.seconds == pytest.approx(300.0)


async def test_the_time_limit_is_written_into_the_recipe_for_the_device_that_is_used(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.offered(memory_bytes=1), facts.ready(train_examples=1600, train_tokens=250_000))
    await scheduler.hears(facts.submitted(overrides=Overrides(time_limit=180.0)))
    [queued] = await scheduler.told(JobQueued)
    assert queued.recipe.max_steps == 36
    await scheduler.hears(facts.offered(device_id="fast", offer_id="offer-2", flops=2.7e14))
    [dispatch] = await scheduler.told(JobDispatched)
    assert dispatch.recipe.max_steps == 0
    assert dispatch.estimate.steps == 200


async def test_an_estimate_names_what_is_wrong_or_missing(scheduler: Scheduler) -> None:
    with pytest.raises(Conflict, match="not ready"):
        await estimate(scheduler)
    await scheduler.hears(facts.refused())
    with pytest.raises(Rejected, match="No line of the file can train"):
        await estimate(scheduler)
    with pytest.raises(Rejected, match="no preset 'huge'"):
        await estimate(scheduler, preset="huge")


async def test_a_tenant_learns_nothing_of_anothers_dataset(scheduler: Scheduler) -> None:
    await scheduler.hears(facts.ready())
    with pytest.raises(Conflict, match="not ready"):
        await estimate(scheduler, tenant="zenith")


async def estimate(
    scheduler: Scheduler, tenant: str = "acme", preset: str = "quick", method: str | None = None
) -> JobEstimated:
    overrides = Overrides(method=method)
    question = EstimateJob(
        tenant=tenant, dataset_id="dataset-1", base_model=SHIPPED_MODEL, preset=preset, overrides=overrides
    )
    async with scheduler.database.transaction(tenant) as tx:
        return await foretell(question, tx, Rate(per_hour=0.06, currency="USD"))
