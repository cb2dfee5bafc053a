"""A runner that lies: every lie is refused and told, and changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import nats
import pytest
from nats.aio.client import Client

from contracts.jobs import JobDispatched
from contracts.runs import (
    CheckpointCommitted,
    LeaseGranted,
    RunFinished,
    RunInterrupted,
    RunProgressed,
    WriteFenced,
)
from libs.bus.permissions import RUNNER
from libs.testing.servers import PASSWORDS
from services.trainer.line import (
    BEAT,
    HELLO,
    PROGRESS,
    REPORT,
    Answered,
    Beat,
    Broken,
    Done,
    Halted,
    Heard,
    Held,
    Hello,
    ProgressReport,
    Quarantined,
    Report,
    Uploaded,
    What,
)
from services.trainer.training.protocol import Progressed
from tests.integration.trainer.house import House
from tests.integration.trainer.stand_in_runner import device

SHA = "a" * 64
STATE = """
    SELECT run.run_id, state, step, interruptions, lease.fence, ended_at,
           (SELECT count(*) FROM trainer.checkpoint) AS checkpoints
      FROM trainer.run JOIN trainer.lease USING (run_id)
     ORDER BY run_id
"""


class Liar:
    """Speaks on the private line as any runner can."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc

    async def asks(self, subject: str, said: Any, answer: Any) -> Any:
        body = said if isinstance(said, bytes) else msgspec.json.encode(said)
        reply = await self.nc.request(subject, body, timeout=30.0)
        return msgspec.json.decode(reply.data, type=answer)

    async def reports(self, what: What, job: JobDispatched, fence: int, runner: str) -> bool:
        said = Report(runner=runner, run_id=job.run_id, fence=fence, what=what)
        return bool((await self.asks(REPORT, said, Answered)).accepted)


class Scene:
    """Two honest leases, of two tenants on two runners, held by nobody who would beat for them."""

    def __init__(self, house: House, liar: Liar, jobs: list[JobDispatched], fences: list[int]) -> None:
        self.house = house
        self.liar = liar
        self.jobs = jobs
        self.fences = fences

    async def state(self) -> list[dict[str, Any]]:
        return await self.house.rows(STATE)


@pytest.fixture
async def scene(house: House) -> AsyncIterator[Scene]:
    nc = await nats.connect(
        house.world.servers.nats_url, user=RUNNER, password=PASSWORDS[RUNNER], inbox_prefix=f"_INBOX.{RUNNER}"
    )
    liar = Liar(nc)
    async with house.control(lease_seconds=60.0):
        jobs, fences = [], []
        for name, tenant in (("liar", "acme"), ("honest", "globex")):
            await asyncio.wait_for(_hello(liar, name), 30.0)
            offer = await house.offered(f"{name}-cpu0")
            jobs.append(await house.dispatch(offer, steps=90, tenant=tenant))
            fences.append((await house.world.told(LeaseGranted, count=len(jobs)))[-1].fence)
        yield Scene(house, liar, jobs, fences)
    await nc.close()


async def _hello(liar: Liar, name: str) -> None:
    while True:
        try:
            await liar.asks(HELLO, Hello(runner=name, devices=(device(name),)), Answered)
            return
        except nats.errors.NoRespondersError:
            await asyncio.sleep(0.05)


def uploaded(job: JobDispatched, fence: int, **changes: Any) -> Uploaded:
    given = {"step": 30, "uri": f"{job.tenant}/runs/{job.run_id}/fence-{fence}/step-30", "size": 1, "sha256": SHA}
    return Uploaded(**(given | changes))


def done(job: JobDispatched, fence: int) -> Done:
    return Done(
        adapter_uri=f"{job.tenant}/runs/{job.run_id}/fence-{fence}/adapter",
        sha256=SHA,
        size=1,
        steps=90,
        tokens=1,
        trained_tokens=1,
        train_loss=1.0,
        eval_loss=None,
        train_seconds=1.0,
        memory_bytes=1,
    )


async def test_a_lie_is_refused_told_and_changes_nothing(scene: Scene) -> None:
    own, other = scene.jobs
    fence, foreign = scene.fences
    before = await scene.state()
    broken = Broken(kind="user_data", message="", exit_code=1, stderr="", step=1)
    lies: list[tuple[What, JobDispatched, int, str]] = [
        (uploaded(own, 999_999), own, 999_999, "liar"),
        (uploaded(own, 1 << 70), own, 1 << 70, "liar"),
        (uploaded(own, -1), own, -1, "liar"),
        (uploaded(other, fence), other, fence, "liar"),
        (uploaded(other, foreign), other, foreign, "liar"),
        (done(other, foreign), other, foreign, "liar"),
        (broken, other, foreign, "liar"),
        (Halted(step=1), other, foreign, "liar"),
        (uploaded(other, foreign), own, foreign, "honest"),
        (uploaded(own, fence, step=-1), own, fence, "liar"),
        (uploaded(own, fence, step=91), own, fence, "liar"),
        (uploaded(own, fence, size=1 << 60), own, fence, "liar"),
        (uploaded(own, fence, uri=f"globex/runs/{other.run_id}/fence-{foreign}/step-30"), own, fence, "liar"),
        (uploaded(own, fence, uri=f"acme/runs/{own.run_id}/fence-{fence}/../../x"), own, fence, "liar"),
    ]
    for lie in lies:
        assert not await scene.liar.reports(*lie), lie
    assert await scene.state() == before
    refused = await scene.house.world.told(WriteFenced, count=len(lies))
    assert len(await scene.house.world.all_told(WriteFenced)) == len(lies)
    assert all(each.why for each in refused)
    for kind in (CheckpointCommitted, RunFinished, RunInterrupted):
        assert not await scene.house.world.all_told(kind)


async def test_what_cannot_be_read_is_refused_and_changes_nothing(scene: Scene) -> None:
    before = await scene.state()
    deep = b"[" * 100_000
    for body in (b"", b"{", b'{"runner": 1}', deep, b'{"runner":"liar","run_id":"r","fence":1,"what":{"type":"won"}}'):
        assert not (await scene.liar.asks(REPORT, body, Answered)).accepted
    assert await scene.state() == before


async def test_nobody_keeps_anothers_lease_alive_or_takes_its_device(scene: Scene) -> None:
    own, foreign = scene.fences
    holds = (Held(run_id="any", fence=own), Held(run_id="any", fence=foreign), Held(run_id="any", fence=1 << 70))
    heard = await scene.liar.asks(BEAT, Beat(runner="liar", holds=holds), Heard)
    assert heard.stale == (foreign, 1 << 70)
    before = await scene.house.rows("SELECT * FROM trainer.device WHERE runner = 'honest'")
    for lie in (
        Hello(runner="liar", devices=(device("honest"),)),
        Hello(runner="honest.>", devices=(device("honest"),)),
        Hello(runner="liar", devices=(device("liar", memory_bytes=-1),)),
    ):
        assert not (await scene.liar.asks(HELLO, lie, Answered)).accepted
    assert await scene.house.rows("SELECT * FROM trainer.device WHERE runner = 'honest'") == before
    assert {row["ended_at"] for row in await scene.state()} == {None}


async def test_only_its_holder_shows_or_quarantines_something_of_a_run(scene: Scene) -> None:
    own, other = scene.jobs
    fence, foreign = scene.fences
    assert await scene.liar.reports(uploaded(other, foreign), other, foreign, "honest")
    lie = Quarantined(step=30, uri=uploaded(other, foreign).uri, reason="a lie")
    assert await scene.liar.reports(lie, own, fence, "liar")
    [row] = await scene.house.rows("SELECT quarantined FROM trainer.checkpoint")
    assert row["quarantined"] is None
    seen = Progressed(
        step=50, total_steps=90, epoch=0, loss=1, learning_rate=0, grad_norm=1, tokens=1, trained_tokens=1,
        tokens_per_second=1, samples_per_second=1, eta_seconds=1,
    )  # fmt: skip
    for claim in (
        ProgressReport(runner="liar", run_id=other.run_id, fence=foreign, seen=seen),
        ProgressReport(runner="liar", run_id=own.run_id, fence=fence, seen=msgspec.structs.replace(seen, step=-4)),
        ProgressReport(runner="liar", run_id=own.run_id, fence=1 << 70, seen=seen),
        ProgressReport(runner="liar", run_id=own.run_id, fence=fence, seen=seen),
    ):
        await scene.liar.nc.publish(PROGRESS, msgspec.json.encode(claim))
    await scene.house.world.told(RunProgressed)
    assert [(each.run_id, each.step) for each in await scene.house.world.all_told(RunProgressed)] == [(own.run_id, 50)]


async def test_a_repeated_last_report_is_no_second_end_and_no_offence(scene: Scene) -> None:
    own, fence = scene.jobs[0], scene.fences[0]
    for _ in range(2):
        assert await scene.liar.reports(uploaded(own, fence), own, fence, "liar")
    for _ in range(2):
        assert await scene.liar.reports(done(own, fence), own, fence, "liar")
    assert await scene.liar.reports(uploaded(own, fence), own, fence, "liar")
    assert not await scene.liar.reports(uploaded(own, fence, sha256="b" * 64), own, fence, "liar")
    [refused] = await scene.house.world.told(WriteFenced)
    assert refused.why == "the lease has ended"
    assert len(await scene.house.world.all_told(RunFinished)) == 1
    assert len(await scene.house.world.all_told(CheckpointCommitted)) == 1


async def test_a_runners_name_belongs_to_one_process_as_long_as_it_lives(scene: Scene) -> None:
    first, second = (
        Hello(runner="twin", devices=(device("twin"),), session=session) for session in ("session-1", "session-2")
    )
    assert (await scene.liar.asks(HELLO, first, Answered)).accepted
    assert (await scene.liar.asks(BEAT, Beat(runner="twin", session="session-1"), Heard)).known
    offer = await scene.house.offered("twin-cpu0")
    assert (await scene.liar.asks(HELLO, first, Answered)).accepted
    assert await scene.house.offered("twin-cpu0") == offer, "a repeated hello takes no offer back"
    job = await scene.house.dispatch(offer, steps=90)
    fence = (await scene.house.world.told(LeaseGranted, count=3))[-1].fence
    holds = (Held(run_id=job.run_id, fence=fence),)
    await scene.liar.asks(BEAT, Beat(runner="twin", session="session-1", holds=holds), Heard)
    assert not (await scene.liar.asks(HELLO, second, Answered)).accepted
    heard = await scene.liar.asks(BEAT, Beat(runner="twin", session="session-2", holds=holds), Heard)
    assert (heard.known, heard.stale) == (False, (fence,))
    assert not await scene.liar.reports(uploaded(job, fence), job, fence, "twin")
    [refused] = await scene.house.world.told(WriteFenced)
    assert "another process" in refused.why
    assert (await scene.liar.asks(HELLO, first, Answered)).accepted, "a repeated hello is no new start"
    assert not await scene.house.world.all_told(RunInterrupted)
    await scene.liar.asks(BEAT, Beat(runner="twin", session="session-1", leaving=True), Heard)
    assert (await scene.liar.asks(HELLO, second, Answered)).accepted
