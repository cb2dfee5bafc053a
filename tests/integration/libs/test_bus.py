"""A fact goes from a transaction's outbox to another service's inbox, whatever happens on the way."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from contracts.base import encode, subject_of
from contracts.files import FileDeleted
from contracts.jobs import EstimateJob, JobCancelAsked, JobCancelled, JobEstimated, JobFailed, Overrides
from libs.bus import Router
from libs.bus.forgetting import KEPT, Forgetter
from libs.bus.streams import EVENTS, streams, verify
from libs.db import Database, Transaction
from libs.errors import Busy, Conflict, NotFound
from libs.service import App
from libs.testing.platform import World

AT = datetime(2026, 11, 21, tzinfo=UTC)


def cancel_asked(tenant: str = "acme", job: str = "ftjob-1") -> JobCancelAsked:
    return JobCancelAsked(tenant=tenant, at=AT, job_id=job)


async def test_a_fact_told_in_a_transaction_arrives_numbered_and_in_order(world: World) -> None:
    scheduler = await world.platform("scheduler")
    async with world.service(App(Router("scheduler")), scheduler):
        async with scheduler.db.transaction("acme") as tx:
            for number in range(450):
                await tx.tell(JobFailed(tenant="acme", at=AT, job_id="ftjob-1", reason=str(number), message="", fix=""))
        facts = await world.told(JobFailed, count=450)
    assert [fact.reason for fact in facts] == [str(number) for number in range(450)]
    assert [fact.version for fact in facts] == list(range(1, 451))


async def test_a_fact_of_a_rolled_back_transaction_is_never_told(world: World) -> None:
    scheduler = await world.platform("scheduler")
    async with world.service(App(Router("scheduler")), scheduler):
        with contextlib.suppress(RuntimeError):
            async with scheduler.db.transaction("acme") as tx:
                await tx.tell(JobCancelled(tenant="acme", at=AT, job_id="ftjob-lost"))
                raise RuntimeError
        async with scheduler.db.transaction("acme") as tx:
            await tx.tell(JobCancelled(tenant="acme", at=AT, job_id="ftjob-kept"))
        await world.told(JobCancelled)
        assert [fact.job_id for fact in await world.all_told(JobCancelled)] == ["ftjob-kept"]


async def test_facts_published_but_not_yet_forgotten_are_told_once(world: World) -> None:
    """The relay died between the stream's acknowledgement and its own DELETE."""
    scheduler = await world.platform("scheduler")
    async with scheduler.db.transaction("acme") as tx:
        for _ in range(3):
            await tx.tell(JobCancelled(tenant="acme", at=AT, job_id="ftjob-1"))
    async with scheduler.db.across_tenants() as tx:
        row = await tx.fetchrow("SELECT subject, headers, body FROM scheduler.outbox ORDER BY seq LIMIT 1")
    await world.js.publish(row["subject"], row["body"], headers=msgspec.json.decode(row["headers"]))
    async with world.service(App(Router("scheduler")), scheduler):
        await world.told(JobCancelled, count=3)
        facts = await world.all_told(JobCancelled)
    assert [fact.version for fact in facts] == [1, 2, 3]


async def test_a_redelivered_fact_has_one_effect(world: World) -> None:
    router, seen = Router("scheduler"), asyncio.Queue[str]()

    @router.on(JobCancelAsked)
    async def hear(fact: JobCancelAsked, tx: Transaction) -> None:
        await seen.put(fact.job_id)

    fact = cancel_asked()
    headers = {"ce-type": "job.cancel_asked.v1", "ce-source": "/woodshed/gateway", "ce-id": "evt-same"}
    for _ in range(2):
        await world.js.publish(subject_of(fact), encode(fact), headers=headers)
    await world.tell(cancel_asked(job="ftjob-2"))
    async with world.service(App(router), await world.platform("scheduler")):
        assert [await asyncio.wait_for(seen.get(), 60) for _ in range(2)] == ["ftjob-1", "ftjob-2"]


async def test_a_busy_reaction_comes_back(world: World) -> None:
    router, tries, done = Router("scheduler"), [], asyncio.Event()

    @router.on(JobCancelAsked)
    async def hear(fact: JobCancelAsked, tx: Transaction) -> None:
        tries.append(fact.job_id)
        if len(tries) < 3:
            raise Busy("not yet", after=0.01)
        done.set()

    await world.tell(cancel_asked())
    async with world.service(App(router), await world.platform("scheduler")):
        await asyncio.wait_for(done.wait(), 60)
    assert len(tries) == 3


@pytest.mark.parametrize(
    ("body", "source"),
    [
        (b"{", "gateway"),
        (b"[" * 5000 + b"]" * 5000, "gateway"),
        (b'{"type":"job.cancel_asked.v1"}', "gateway"),
        (encode(cancel_asked()), "notifier"),
    ],
    ids=["malformed", "deeply nested", "fields missing", "told by a stranger"],
)
async def test_what_cannot_be_taken_is_set_aside_once(world: World, body: bytes, source: str) -> None:
    router, heard = Router("scheduler"), asyncio.Event()

    @router.on(JobCancelAsked)
    async def hear(fact: JobCancelAsked, tx: Transaction) -> None:
        assert fact.job_id == "ftjob-good"
        heard.set()

    headers = {"ce-type": "job.cancel_asked.v1", "ce-source": f"/woodshed/{source}", "ce-id": "evt-bad"}
    await world.js.publish(subject_of(cancel_asked()), body, headers=headers)
    await world.tell(cancel_asked(job="ftjob-good"))
    async with world.service(App(router), await world.platform("scheduler")):
        await asyncio.wait_for(heard.wait(), 60)
    assert (await world.js.stream_info("DEADLETTERS")).state.messages == 1
    assert (await world.js.consumer_info(EVENTS, "scheduler")).num_ack_pending == 0


async def test_what_was_taken_in_is_forgotten_in_time_and_never_while_something_is_outstanding(world: World) -> None:
    router, taken, gate = Router("scheduler"), asyncio.Event(), asyncio.Event()

    @router.on(JobCancelAsked)
    async def hear(fact: JobCancelAsked, tx: Transaction) -> None:
        if fact.job_id == "ftjob-slow":
            taken.set()
            await gate.wait()

    scheduler = await world.platform("scheduler")
    forgetter = Forgetter(scheduler.db, scheduler.bus)
    await world.tell(cancel_asked())
    await world.tell(cancel_asked(job="ftjob-slow"))
    async with world.service(App(router), await world.platform("scheduler")):
        await asyncio.wait_for(taken.wait(), 30)
        assert await forgetter.forget(timedelta(0)) is None
        gate.set()
        async with asyncio.timeout(30):
            while await forgetter.forget(KEPT) is None:
                await asyncio.sleep(0.02)
        async with scheduler.db.across_tenants() as tx:
            assert await tx.fetchval("SELECT count(*) FROM scheduler.inbox") == 2, "nothing is that old"
        assert await forgetter.forget(timedelta(0)) == 2


async def test_what_is_to_be_done_afterwards_waits_for_the_commit_and_is_not_done_without_it(world: World) -> None:
    database = (await world.platform("scheduler")).db
    done: list[str] = []
    with contextlib.suppress(RuntimeError):
        async with database.transaction("acme") as tx:
            tx.afterwards(lambda: done.append("rolled back"))
            raise RuntimeError
    async with database.transaction("acme") as tx:
        await tx.claim("evt-1")
        tx.afterwards(lambda: done.append("committed"))
        assert done == []
    assert done == ["committed"]


async def test_one_tenant_never_sees_anothers_rows(world: World) -> None:
    scheduler = await world.platform("scheduler")
    async with scheduler.db.transaction("acme") as tx:
        await tx.tell(JobCancelled(tenant="acme", at=AT, job_id="ftjob-1"))
    count = "SELECT count(*) FROM scheduler.outbox"
    async with scheduler.db.transaction("other") as tx:
        assert await tx.fetchval(count) == 0
    async with scheduler.db.across_tenants() as tx:
        assert await tx.fetchval(count) == 1
    async with scheduler.db.pool.acquire() as connection:
        assert await connection.fetchval(count) == 0


async def test_a_question_is_answered_or_refused_with_its_reason(world: World) -> None:
    router = Router("scheduler")

    @router.answers(EstimateJob)
    async def estimate(question: EstimateJob, tx: Transaction) -> JobEstimated:
        raise NotFound(f"There is no dataset {question.dataset_id}.")

    gateway = await world.platform("gateway")
    question = EstimateJob(tenant="acme", dataset_id="ds-1", base_model="m", preset="quick", overrides=Overrides())
    with pytest.raises(Busy, match="scheduler"):
        await gateway.bus.ask(question, JobEstimated, timeout=0.2)
    async with world.service(App(router), await world.platform("scheduler")):
        with pytest.raises(NotFound, match="ds-1"):
            await gateway.bus.ask(question, JobEstimated, timeout=30)


async def test_a_slow_answer_holds_no_database_connection(world: World) -> None:
    router = Router("scheduler")
    scheduler = await world.platform("scheduler")

    def held() -> int:
        return scheduler.db.pool.get_size() - scheduler.db.pool.get_idle_size()

    @router.answers(EstimateJob, slow=True)
    async def estimate(question: EstimateJob, database: Database) -> JobEstimated:
        async with database.transaction(question.tenant):
            within = held()
        async with asyncio.timeout(30):
            while held() >= within:
                await asyncio.sleep(0.01)
        raise NotFound("given back")

    async with world.service(App(router), scheduler):
        question = EstimateJob(tenant="acme", dataset_id="ds-1", base_model="m", preset="quick", overrides=Overrides())
        with pytest.raises(NotFound, match="given back"):
            await (await world.platform("gateway")).bus.ask(question, JobEstimated, timeout=60)


async def test_a_service_may_tell_only_what_it_owns(world: World) -> None:
    notifier = await world.platform("notifier")
    with pytest.raises(Exception, match=r"(?i)timeout|permission"):
        await notifier.bus.js.publish(
            subject_of(FileDeleted(tenant="acme", at=AT, file_id="file-1")), b"{}", timeout=0.5, stream=EVENTS
        )
    assert (await world.js.stream_info(EVENTS)).state.messages == 0


async def test_a_service_refuses_a_stream_that_differs(world: World) -> None:
    config = next(each for each in streams() if each.name == "TELEMETRY")
    await world.js.update_stream(config, max_age=600.0)
    try:
        with pytest.raises(Conflict, match="max_age"):
            await verify(world.js, "scheduler")
    finally:
        await world.js.update_stream(config)
    await verify(world.js, "scheduler")
