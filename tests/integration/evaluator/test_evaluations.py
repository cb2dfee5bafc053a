"""A finished run on real servers: its report comes by itself, whatever dies on the way, and its models can be asked."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from contracts.evaluations import (
    AskModel,
    EvaluationFailed,
    EvaluationProgressed,
    EvaluationStarted,
    ModelReplied,
    ReportReady,
    ServingCompared,
    SuiteScored,
)
from libs.errors import Conflict, NotFound
from libs.lm import llama
from libs.service import Platform
from libs.storage import Storage
from libs.testing.family import descendants
from libs.testing.platform import World
from services.evaluator import queries
from services.evaluator.domain.owed import evaluation_id
from services.evaluator.report.data import ReportData
from tests.integration.evaluator.conftest import PATIENCE, Bench
from tests.sabotage import spoiled

ENGINE = "llama.cpp" if llama.available() else "transformers"


async def until(true: Callable[[], object], timeout: float = 120.0) -> None:
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.02)


async def test_a_finished_run_gets_its_report_once_with_facts_that_agree(bench: Bench) -> None:
    run = await bench.finished.run(1.0)
    async with bench.running(await bench.app()):
        await bench.world.tell(run)
        await bench.world.tell(run)
        (ready,) = await bench.world.told(ReportReady, timeout=PATIENCE)
    assert (ready.verdict, ready.evaluation_id) == ("worse", evaluation_id(run.run_id))
    scored = await bench.world.all_told(SuiteScored)
    assert {each.suite: each.verdict for each in scored}["perplexity"] == "worse"
    assert len(await bench.world.all_told(EvaluationStarted)) == len(await bench.world.all_told(ReportReady)) == 1
    assert {each.suite for each in await bench.world.all_told(EvaluationProgressed)} <= {
        "perplexity", "retention", "replies"
    }  # fmt: skip
    (compared,) = await bench.world.all_told(ServingCompared)
    assert (compared.same, compared.engine, compared.tokens, compared.remedy) == (True, ENGINE, 24, None)
    assert compared.difference <= compared.tolerance
    await _report_is_whole(bench.platform.storage, ready, scored)


async def _report_is_whole(storage: Storage, ready: ReportReady, scored: list[SuiteScored]) -> None:
    bodies = {form: await storage.get_bytes(getattr(ready, f"{form}_uri")) for form in ("pdf", "html", "json")}
    for form, body in bodies.items():
        assert hashlib.sha256(body).hexdigest() == getattr(ready, f"{form}_sha256")
    data = msgspec.json.decode(bodies["json"], type=ReportData)
    assert data.headline == ready.headline
    assert [(each.suite, each.change.value) for each in data.scores] == [(each.suite, each.change) for each in scored]
    assert len(data.pairs) == 2
    assert len(data.curve) == 3


async def test_a_measurement_that_is_killed_or_left_by_a_stopping_evaluator_is_made_again(bench: Bench) -> None:
    async with bench.running(await bench.app(lease=3.0)):
        await bench.world.tell(await bench.finished.run(0.0))
        await until(lambda: descendants("services.evaluator.scoring"))
        killed = descendants("services.evaluator.scoring")[0]
        killed.kill()
        async with asyncio.timeout(120):
            while not await _hurried(bench):
                await asyncio.sleep(0.05)
        await until(lambda: any(each.pid != killed.pid for each in descendants("services.evaluator.scoring")))
    assert not descendants("services.evaluator.scoring")
    bench.platform = await bench.world.platform("evaluator")
    async with bench.running(await bench.app()):
        (ready,) = await bench.world.told(ReportReady, timeout=PATIENCE)
    assert ready.verdict == "no_difference"
    assert len(await bench.world.all_told(EvaluationStarted)) == 1


async def _hurried(bench: Bench) -> bool:
    """Let the wait before the next try be over."""
    async with bench.platform.db.across_tenants() as tx:
        sped = "UPDATE evaluator.evaluation SET not_before = now() WHERE state = 'queued' AND attempts = 1 RETURNING id"
        return await tx.fetchval(sped) is not None


async def test_a_silent_holder_loses_its_lease_and_may_write_nothing(bench: Bench) -> None:
    run = await bench.finished.run(0.0)
    async with bench.platform.db.across_tenants() as tx:
        await queries.add(tx, "eval-1", run, ("perplexity",))
    async with bench.platform.db.across_tenants() as tx:
        first = await queries.take(tx, lease=0.0)
    async with bench.platform.db.across_tenants() as tx:
        second = await queries.take(tx, lease=60.0)
        assert await queries.take(tx, lease=60.0) is None
    assert first is not None
    assert second is not None
    assert second.fence == first.fence + 1
    async with bench.platform.db.transaction("acme") as tx:
        assert not await queries.renew(tx, first, 60.0)
        assert not await queries.finish(tx, first, "better", "Hooray", run.at)
        assert await queries.finish(tx, second, "no_difference", "Equal", run.at)


async def test_an_adapter_that_is_not_what_was_trained_fails_with_that_reason(bench: Bench) -> None:
    run = msgspec.structs.replace(await bench.finished.run(0.0), sha256="0" * 64)
    async with bench.running(await bench.app()):
        await bench.world.tell(run)
        (failed,) = await bench.world.told(EvaluationFailed, timeout=PATIENCE)
    assert failed.reason == "corrupted"


async def test_nothing_held_out_is_said_so(bench: Bench) -> None:
    """What is served is compared all the same, on questions of the knowledge suite."""
    run = await bench.finished.run(0.0, held_out=0)
    async with bench.running(await bench.app()):
        await bench.world.tell(run)
        (failed,) = await bench.world.told(EvaluationFailed, timeout=PATIENCE)
    assert failed.reason == "nothing_held_out"
    assert "test share" in failed.message
    (compared,) = await bench.world.all_told(ServingCompared)
    assert (compared.same, compared.prompts) == (True, 3)


BASE_IN_DISGUISE = """
def spoil(module):
    module.Weights.use = lambda self, adapter: self._adapted and self._adapted.base_model.disable_adapter_layers()
"""


async def test_a_model_that_is_not_served_as_trained_keeps_its_report_and_is_withheld(
    bench: Bench, gateway: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = spoiled(tmp_path / "spoil", "services.evaluator.answering.transformer", BASE_IN_DISGUISE)
    monkeypatch.setenv("PYTHONPATH", planted["PYTHONPATH"])
    run = await bench.finished.run(1.0)
    async with bench.running(await bench.app(engine="transformers")):
        await bench.world.tell(run)
        (compared,) = await bench.world.told(ServingCompared, timeout=PATIENCE)
        with pytest.raises(Conflict, match="Download the adapter") as refused:
            await gateway.bus.ask(
                AskModel(tenant="acme", job_id=run.job_id, prompt="Hi"), ModelReplied, timeout=PATIENCE
            )
        await bench.world.told(ReportReady, timeout=PATIENCE)
    assert (compared.same, compared.differing, refused.value.code) == (False, 3, "served_differs")
    assert compared.remedy
    assert compared.remedy.kind == "operator"


async def test_a_measurement_that_takes_too_long_is_stopped(bench: Bench) -> None:
    async with bench.running(await bench.app(time_limit=0.5)):
        await bench.world.tell(await bench.finished.run(0.0))
        (failed,) = await bench.world.told(EvaluationFailed, timeout=PATIENCE)
    assert failed.reason == "time_limit"
    assert not descendants("services.evaluator")


async def test_both_models_answer_and_leave_when_nobody_asks(bench: Bench, gateway: Platform) -> None:
    run = await bench.finished.run(1.0)
    app = await bench.app(ask_idle=0.5)
    async with bench.platform.db.across_tenants() as tx:
        await queries.add(tx, "eval-1", run, ())
        await tx.execute("UPDATE evaluator.evaluation SET state = 'done', served = 'same'")
    question = AskModel(tenant="acme", job_id=run.job_id, prompt="What is a fee?", max_tokens=8)
    async with bench.running(app):
        said = await gateway.bus.ask(question, ModelReplied, timeout=60)
        assert said.base != said.tuned
        assert await gateway.bus.ask(question, ModelReplied, timeout=60) == said
        await until(lambda: not descendants("services.evaluator.answering"))


async def test_a_job_of_another_tenant_or_none_is_not_found(bench: Bench, gateway: Platform) -> None:
    run = await bench.finished.run(0.0)
    async with bench.platform.db.across_tenants() as tx:
        await queries.add(tx, "eval-1", run, ())
        await tx.execute("UPDATE evaluator.evaluation SET state = 'done'")
    async with bench.running(await bench.app()):
        for tenant, job in (("rival", run.job_id), ("acme", "job-none")):
            with pytest.raises(NotFound, match="No finished job"):
                await gateway.bus.ask(AskModel(tenant=tenant, job_id=job, prompt="Hi"), ModelReplied, timeout=60)


@pytest.fixture
async def gateway(world: World) -> Platform:
    return await world.platform("gateway")
