"""The invariants hold on a finished installation, and each one that is broken on purpose is named with its offender."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from contracts.jobs import JobFailed, JobSubmitted
from contracts.runs import CheckpointCommitted, LeaseGranted, RunFinished
from deploy.invariants import INVARIANTS, check, checking, stored
from deploy.invariants.__main__ import sweep, table
from deploy.invariants.checking import look_once
from deploy.invariants.looking import Eyes
from deploy.invariants.offences import Offence
from deploy.provision import ROOT
from libs.testing.platform import World
from tests.deploy.healthy import DATASET, FILE, JOB, RUN, TENANT, Change, Healthy, build

ADAPTER = f"{TENANT}/runs/{RUN}/fence-9/adapter/adapter_model.safetensors"
CHECKPOINT = f"{TENANT}/runs/{RUN}/fence-9/step-30"


@pytest.fixture
async def house(world: World) -> AsyncIterator[Healthy]:
    admin = await asyncpg.connect(world.servers.admin_url.rsplit("/", 1)[0] + "/woodshed")
    try:
        house = Healthy(world, admin)
        await house.storage.delete_prefix("")
        await build(house)
        yield house
    finally:
        await admin.close()


def sql(statement: str) -> Change:
    async def change(house: Healthy) -> None:
        await house.run(statement)

    return change


def changed(key: str, data: bytes | None = b"?") -> Change:
    async def change(house: Healthy) -> None:
        await house.storage.delete(key)
        if data is not None:
            await house.storage.put_bytes(key, data)

    return change


def told(kind: type, **fields: object) -> Change:
    async def change(house: Healthy) -> None:
        await house.tell(kind, **fields)
        await house.publish()

    return change


async def wish_of_nobody(house: Healthy) -> None:
    await house.tell(JobSubmitted, job_id="ftjob-2")
    await house.publish()


async def waiting_fact(house: Healthy) -> None:
    await house.tell(JobFailed, job_id=JOB)


async def lost_fact(house: Healthy) -> None:
    await house.tell(JobFailed, job_id="ftjob-2")
    await house.run("DELETE FROM scheduler.outbox")


async def lost_part(house: Healthy) -> None:
    await house.run(
        "INSERT INTO gateway.upload (upload_id, tenant, filename, purpose, size, created_at, expires_at)"
        " VALUES ('upload-1', 'acme', 'a', 'fine-tune', 1, now(), now())"
    )
    await house.run(
        "INSERT INTO gateway.upload_part (part_id, tenant, upload_id, uri, size, sha256, created_at)"
        " VALUES ('part-1', 'acme', 'upload-1', 'acme/uploads/upload-1/part-1', 1, 'a', now())"
    )


async def more_holders(house: Healthy, shared: bool, memory_bytes: int) -> None:
    await house.run("DROP INDEX trainer.lease_one_holder")
    await house.run("DROP INDEX trainer.lease_one_device")
    await house.run(
        "INSERT INTO trainer.lease"
        " (fence, tenant, run_id, device_id, runner, attempt, granted_at, shared, memory_bytes)"
        " SELECT n, $1, $2, 'cpu-1', 'host', 3, now(), $3, $4 FROM generate_series(20, 21) n",
        TENANT, RUN, shared, memory_bytes,
    )  # fmt: skip


Break = tuple[str, str, Change]

BROKEN: dict[str, tuple[Break, ...]] = {
    "lost rows": (
        ("accepted jobs are known", JOB, sql("DELETE FROM scheduler.job")),
        ("one proof per run", RUN, sql("DELETE FROM evaluator.evaluation")),
        ("one record per notice", JOB, sql("DELETE FROM notifier.notice WHERE about = 'finished'")),
        ("sequences without gap", "acme.job.ftjob-2", lost_fact),
    ),
    "changed rows": (
        ("one end per job", "people see running", sql("UPDATE gateway.job SET status = 'running'")),
        ("one end per job", f"its run {RUN} is failed", sql("UPDATE trainer.run SET state = 'failed'")),
        (
            "one end per job",
            "ftjob-9: is cancelled and told no end",
            sql("INSERT INTO scheduler.job (tenant, job_id, state) VALUES ('acme', 'ftjob-9', 'cancelled')"),
        ),
        ("one end per run", f"{RUN}: is failed and told RunFinished", sql("SELECT 1")),
        (
            "one holder per device",
            "still holds a device",
            sql("UPDATE trainer.lease SET ended_at = NULL WHERE fence = 9"),
        ),
        (
            "no write below the fence",
            CHECKPOINT,
            sql("UPDATE trainer.checkpoint SET fence = 8 WHERE step = 30"),
        ),
        (
            "cost = rent + own device time × rate",
            "people see 0.012633",
            sql("UPDATE gateway.job SET cost = 0.012633"),
        ),
        (
            "months hold what jobs cost",
            "its jobs cost 0.012632, its months hold 0.000000",
            sql(f"UPDATE scheduler.job SET charged = 12632 WHERE job_id = '{JOB}'"),
        ),
        (
            "the audit log is a chain",
            "acme#1: the log ends after 0 entries and should have 1",
            sql("UPDATE gateway.tenant SET audited = 1"),
        ),
        ("one record per notice", "notice-report", sql("UPDATE notifier.notice SET state = 'failed'")),
    ),
    "a microsecond too much": (
        (
            "device time adds up",
            "told 170375000 µs of device time, its leases add up to 170375001",
            sql("UPDATE trainer.lease SET ended_at = ended_at + interval '1 microsecond' WHERE fence = 7"),
        ),
    ),
    "a price that changed": (
        (
            "rent adds up",
            "told a rent of 0.011128, its leases come to 0.011151",
            sql("UPDATE trainer.machine SET price = 0.501"),
        ),
    ),
    "a machine nobody rented": (
        (
            "rent adds up",
            "told 80.125 s on rented machines, its leases say 0 µs",
            sql("UPDATE trainer.lease SET runner = 'host' WHERE fence = 9"),
        ),
    ),
    "a clock set back": (
        (
            "device time adds up",
            "ended before it began",
            sql("UPDATE trainer.lease SET ended_at = granted_at - interval '1 second' WHERE fence = 7"),
        ),
    ),
    "facts too many": (
        ("accepted jobs are known", "ftjob-2: has no row in gateway, no row in scheduler", wish_of_nobody),
        ("one end per job", "told JobSucceeded and JobFailed", told(JobFailed)),
        ("one end per run", "told RunFinished and RunFinished", told(RunFinished, fence=9)),
        ("no write below the fence", "CheckpointCommitted under fence 7", told(CheckpointCommitted, fence=7, step=40)),
        ("no write below the fence", "fence 8 was granted after 9", told(LeaseGranted, fence=8)),
        ("outboxes drained", "scheduler has not published", waiting_fact),
    ),
    "damaged objects": (
        (
            "objects are whole",
            f"{CHECKPOINT}/adapter_model.safetensors",
            changed(f"{CHECKPOINT}/adapter_model.safetensors"),
        ),
        ("objects are whole", f"{ADAPTER}: {JOB} names it and it is not there", changed(ADAPTER, None)),
        ("objects are whole", DATASET, changed(f"{TENANT}/datasets/d1/manifest.json")),
        (
            "objects are whole",
            f"{FILE} was deleted",
            sql("UPDATE gateway.file SET deleting_at = now(), deleted_at = now()"),
        ),
        (
            "objects are whole",
            f"the model of {JOB} was deleted and its bytes are there",
            sql(
                f"UPDATE gateway.job SET adapter_uri = '{CHECKPOINT}', model_deleting_at = now(), "
                "model_deleted_at = now()"
            ),
        ),
        ("objects are whole", "part-1 names it and it is not there", lost_part),
        ("objects are whole", "report.pdf", changed("acme/reports/eval-1/report.pdf")),
    ),
}
"""What is done to the installation; for each: which invariant must be broken, and what its offences must say."""


async def test_all_hold_on_a_finished_installation(house: Healthy) -> None:
    findings = await house.findings()
    assert await house.broken() == {}
    assert list(findings) == [invariant.name for invariant in INVARIANTS]
    assert not any(finding.noted for finding in findings.values())


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_broken_on_purpose_is_named(house: Healthy, what: str) -> None:
    for _, _, change in BROKEN[what]:
        await change(house)
    broken = await house.broken()
    for invariant, said, _ in BROKEN[what]:
        assert said in broken[invariant]


def test_every_invariant_that_can_break_is_broken_once() -> None:
    broken = {invariant for breaks in BROKEN.values() for invariant, _, _ in breaks}
    elsewhere = {"steps tile 0…N", "objects have rows", "nothing set aside in silence"}
    assert broken | elsewhere == {invariant.name for invariant in INVARIANTS}


INDEXES = "SELECT indexdef FROM pg_indexes WHERE indexname IN ('lease_one_holder', 'lease_one_device')"


@pytest.mark.parametrize(
    ("shared", "memory_bytes", "said"),
    [
        (False, 0, "cpu-1: held under fences 20, 21 at once"),
        (True, 1, "cpu-1: fences 20, 21 share 2 of 1 bytes"),
        (True, 0, f"{RUN}: holds fences 20, 21 at once"),
    ],
)
async def test_two_holders_are_named(house: Healthy, shared: bool, memory_bytes: int, said: str) -> None:
    indexes = [row["indexdef"] for row in await house.admin.fetch(INDEXES)]
    await more_holders(house, shared, memory_bytes)
    try:
        assert said in (await house.broken())["one holder per device"]
    finally:
        await house.run("DELETE FROM trainer.lease WHERE fence > 19")
        for index in indexes:
            await house.run(index)


async def test_what_is_under_way_is_not_broken(house: Healthy, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.tell(JobFailed, job_id="ftjob-2")
    looks = []

    async def looking(seeing: Eyes, *, quick: bool) -> dict[str, list[Offence]]:
        looks.append(await look_once(seeing, quick=quick))
        if len(looks) == 1:
            await house.publish()
            await house.run(
                "INSERT INTO scheduler.job (tenant, job_id, state, wish) VALUES ('acme', 'ftjob-2', 'failed', '{}')"
            )
            await house.run(
                "INSERT INTO notifier.notice (notice_id, tenant, job_id, channel, about, fact, due_at)"
                " VALUES ('notice-2', 'acme', 'ftjob-2', 'console', 'failed', '{}', now())"
            )
        return looks[-1]

    monkeypatch.setattr(checking, "look_once", looking)
    findings = await check(house.installation, patience=30.0, pause=0.05)
    assert all(finding.held for finding in findings)
    assert {name for name, found in looks[0].items() if found} == {
        "one end per job", "one record per notice", "outboxes drained",
    }  # fmt: skip
    assert len(looks) == 2


async def test_a_whole_model_is_delivered_like_an_adapter(house: Healthy) -> None:
    whole = ADAPTER.replace("adapter_model", "model")
    await house.storage.put_bytes(whole, await house.storage.get_bytes(ADAPTER))
    await house.storage.delete(ADAPTER)
    await house.run(f"UPDATE gateway.artifact SET uri = '{whole}'")
    assert await house.broken() == {}
    await house.storage.put_bytes(whole, b"?")
    assert f"{whole}: {JOB} says" in (await house.broken())["objects are whole"]


async def test_the_table_says_what_broke_whose_and_how_to_mend_it(house: Healthy) -> None:
    await house.storage.delete(ADAPTER)
    said = table(list((await house.findings()).values()))
    assert f"BROKEN G7  objects are whole\n           {ADAPTER}: " in said
    assert "→ Restore this object from a backup" in said
    assert said.count("held") >= len(INVARIANTS) - 1


async def test_a_leftover_is_listed_while_young_swept_when_old_and_nothing_else_is(
    house: Healthy, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = f"{TENANT}/runs/{RUN}/fence-8/step-5/half"
    await house.storage.put_bytes(left, b"half")
    finding = (await house.findings())["objects have rows"]
    assert finding.held
    assert [each.who for each in finding.noted] == [left]
    assert await sweep(house.installation) == []
    monkeypatch.setattr(stored, "LEFTOVER_SECONDS", 0.0)
    assert left in (await house.broken())["objects have rows"]
    assert await sweep(house.installation, older_than=0.0) == [left]
    assert await house.broken() == {}


async def test_what_was_set_aside_is_listed_with_its_reason(house: Healthy) -> None:
    reason = {"woodshed-reason": "ValueError: no"}
    await house.world.js.publish("dead.scheduler.evt.acme.job.x.queued", b"{}", headers=reason, stream="DEADLETTERS")
    finding = (await house.findings())["nothing set aside in silence"]
    assert finding.held
    assert [each.what for each in finding.noted] == ["ValueError: no"]


def test_where_nothing_was_started_it_says_so_and_ends_with_two(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.invariants", "--home", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Nothing was started" in done.stderr


async def test_the_auditor_reads_every_schema_and_writes_none(house: Healthy) -> None:
    connection = await asyncpg.connect(house.installation.database_url)
    try:
        await connection.execute("SELECT set_config('app.tenant', 'other', false)")
        assert await connection.fetchval("SELECT count(*) FROM gateway.job") == 0
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM gateway.job")
        await connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM gateway.job")
    finally:
        await connection.close()
