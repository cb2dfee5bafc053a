"""An installation after one interrupted, finished, proven and paid job: all its rows, facts and objects."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import msgspec

from contracts.base import Event, type_of
from contracts.catalogue import BY_TYPE, SERVICES
from contracts.evaluations import ReportReady
from contracts.generate import HERE
from contracts.jobs import JobQueued, JobSubmitted, JobSucceeded
from contracts.notices import NoticeDelivered
from contracts.runs import (
    CheckpointCommitted,
    LeaseGranted,
    RunFinished,
    RunInterrupted,
    RunRecovered,
    RunStarted,
)
from deploy.invariants import Finding, Installation, check
from libs.storage import Storage
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS

E = TypeVar("E", bound=Event)

TENANT = "acme"
JOB, RUN, FILE, DATASET, EVALUATION = "ftjob-1", "run-1", "file-1", "ds-1", "eval-1"
BEGAN = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
LEASES = ((7, 0.0, 90.25, "host"), (9, 120.0, 200.125, "rented"))
"""Fence, the seconds of its grant and its end, and whose device it held."""
RATE, PRICE = 0.06, 0.5
COST = 0.012632
"""90.25 s at the rate, 0.001504, and 80.125 s at the machine's price, 0.011128."""


class Healthy:
    """Writes the installation down; tests then break one thing."""

    def __init__(self, world: World, admin: "asyncpg.Connection[Any]") -> None:
        self.world = world
        self.admin = admin
        self.url = f"file://{world.servers.folder / 'audited'}"
        self.storage = Storage.open(self.url)
        self.digests: dict[str, str] = {}

    @property
    def installation(self) -> Installation:
        servers = self.world.servers
        return Installation(
            database_url=servers.cluster.url_for("woodshed_auditor", PASSWORDS["auditor"], "woodshed"),
            nats_url=servers.nats_url,
            nats_password=PASSWORDS["auditor"],
            storage_url=self.url,
        )

    async def findings(self) -> dict[str, Finding]:
        """Look with little patience: nothing moves here."""
        found = await check(self.installation, patience=0.2, pause=0.1)
        return {finding.invariant: finding for finding in found}

    async def broken(self) -> dict[str, str]:
        """Return the broken invariants with all their offences as text."""
        return {
            name: "; ".join(f"{each.who}: {each.what}" for each in finding.offences)
            for name, finding in (await self.findings()).items()
            if not finding.held
        }

    async def run(self, statement: str, *values: Any) -> None:
        """Change rows past every guard."""
        await self.admin.execute(statement, *values)

    async def tell(self, kind: type[E], **fields: Any) -> E:
        """Tell a fact as its owner's transaction does; it stays in the outbox until ``publish``."""
        tag = type_of(kind)
        sample = msgspec.json.decode((HERE / "samples" / f"{tag}.json").read_bytes(), type=kind)
        known = {name: value for name, value in IDS.items() if name in kind.__struct_fields__}
        event = msgspec.structs.replace(sample, **({"tenant": TENANT, "version": 0} | known | fields))
        platform = await self.platform(BY_TYPE[tag].owner)
        async with platform.db.across_tenants() as tx:
            told: E = await tx.tell(event)  # type: ignore[assignment]
        return told

    async def publish(self) -> None:
        """Carry every outbox to the stream, as relays do."""
        for service in SERVICES:
            for row in await self.admin.fetch(f"SELECT * FROM {service}.outbox ORDER BY seq"):
                headers = json.loads(row["headers"])
                await self.world.js.publish(row["subject"], row["body"], headers=headers, stream="EVENTS")
            await self.run(f"DELETE FROM {service}.outbox")

    async def put(self, key: str, data: bytes) -> str:
        """Store an object and return its sha256."""
        stored = await self.storage.put_bytes(key, data)
        self.digests[key] = stored.sha256
        return stored.sha256

    async def platform(self, service: str) -> Any:
        """Connect as a service, once."""
        found = next((each for each in self.world._connected if each.db.schema == service), None)
        return found or await self.world.platform(service)


IDS: dict[str, Any] = {
    "job_id": JOB,
    "run_id": RUN,
    "dataset_id": DATASET,
    "file_id": FILE,
    "evaluation_id": EVALUATION,
    "device_id": "cpu-1",
}


async def build(house: Healthy) -> None:
    """Write everything down, in the order in which it happens."""
    for part in (upload, dataset, _job, _training, _adapter, _proof, _notices):
        await part(house)
    await house.publish()


async def upload(house: Healthy) -> None:
    key = f"{TENANT}/files/{FILE}/talks.jsonl"
    sha256 = await house.put(key, b'{"messages": []}')
    await house.run("INSERT INTO gateway.tenant (tenant) VALUES ($1)", TENANT)
    await house.run(
        "INSERT INTO gateway.file (file_id, tenant, purpose, filename, size, sha256, uri)"
        " VALUES ($1, $2, 'fine-tune', 'talks.jsonl', 16, $3, $4)",
        FILE, TENANT, sha256, key,
    )  # fmt: skip


async def dataset(house: Healthy) -> None:
    split = await house.put(f"{TENANT}/datasets/d1/train.parquet", b"rows")
    manifest = json.dumps({"files": [{"name": "train.parquet", "sha256": split, "size": 4}]}).encode()
    digest = await house.put(f"{TENANT}/datasets/d1/manifest.json", manifest)
    await house.run(
        "INSERT INTO dataset.dataset (tenant, dataset_id, file_id, uri, sha256, validation_uri, validation_sha256,"
        " base_model, format, max_length, split, asked_at, state, digest, outcome)"
        " VALUES ($1, $2, $3, 'u', 's', '', '', 'm', 'auto', 512, '{}', $4, 'ready', $5, $6)",
        TENANT, DATASET, FILE, BEGAN, digest, json.dumps({"uri": f"{TENANT}/datasets/d1"}),
    )  # fmt: skip
    await house.run(
        "INSERT INTO gateway.dataset (dataset_id, tenant, file_id, filename, base_model, format, split, state)"
        " VALUES ($1, $2, $3, 'talks.jsonl', 'm', 'auto', '{}', 'ready')",
        DATASET, TENANT, FILE,
    )  # fmt: skip


async def _job(house: Healthy) -> None:
    await house.run(
        "INSERT INTO gateway.job (job_id, tenant, model, training_file, dataset_id, preset, priority, suffix, seed,"
        " asked, metadata, status, run_id, cost) VALUES ($1, $2, 'm', $3, $4, 'quick', 'medium', '', 1, '{}', '{}',"
        " 'succeeded', $5, 0.012632)",
        JOB, TENANT, FILE, DATASET, RUN,
    )  # fmt: skip
    await house.run(
        "INSERT INTO scheduler.job (tenant, job_id, state, wish, run_id) VALUES ($1, $2, 'succeeded', '{}', $3)",
        TENANT, JOB, RUN,
    )  # fmt: skip
    await house.tell(JobSubmitted)
    await house.tell(JobQueued)


async def _training(house: Healthy) -> None:
    await house.run(
        "INSERT INTO trainer.device (device_id, runner, kind, precision, threads, memory_bytes, flops, torch_device)"
        " VALUES ('cpu-1', 'host', 'cpu', 'float32', 1, 1, 1, 'cpu')"
    )
    await house.run(
        "INSERT INTO trainer.run (run_id, tenant, job_id, state, recipe, dataset_id, dataset_digest, dataset_uri,"
        " checkpoint_every) VALUES ($1, $2, $3, 'succeeded', '{}', $4, 'd', 'u', 10)",
        RUN, TENANT, JOB, DATASET,
    )  # fmt: skip
    await house.run(
        "INSERT INTO trainer.machine (key, pool, provider, kind, devices, price, ask_at, asked_at, busy_at)"
        " VALUES ('rented', 'spot', 'spot', 'cpu', 1, $1, $2, $2, $2)",
        PRICE, BEGAN,
    )  # fmt: skip
    for attempt, (fence, start, end, runner) in enumerate(LEASES, 1):
        await house.run(
            "INSERT INTO trainer.lease (fence, tenant, run_id, device_id, runner, attempt, granted_at, ended_at)"
            " VALUES ($1, $2, $3, 'cpu-1', $4, $5, $6, $7)",
            fence, TENANT, RUN, runner, attempt, BEGAN + timedelta(seconds=start), BEGAN + timedelta(seconds=end),
        )  # fmt: skip
    await house.tell(LeaseGranted, fence=7, attempt=1)
    await house.tell(RunStarted, fence=7)
    await _checkpoint(house, 7, 10, kept=False)
    await _checkpoint(house, 7, 20)
    await house.tell(RunInterrupted, fence=7, step=20)
    await house.tell(LeaseGranted, fence=9, attempt=2)
    await house.tell(RunRecovered, fence=9, step=20)
    await _checkpoint(house, 9, 30)


async def _checkpoint(house: Healthy, fence: int, step: int, *, kept: bool = True) -> None:
    uri = f"{TENANT}/runs/{RUN}/fence-{fence}/step-{step}"
    weights = hashlib.sha256(b"weights").hexdigest()
    manifest = json.dumps({"files": {"adapter_model.safetensors": {"sha256": weights, "size": 7}}}).encode()
    if kept:
        await house.put(f"{uri}/adapter_model.safetensors", b"weights")
        digest = await house.put(f"{uri}/MANIFEST.json", manifest)
        await house.run(
            "INSERT INTO trainer.checkpoint (uri, tenant, run_id, fence, step, size, sha256, committed_at)"
            " VALUES ($1, $2, $3, $4, $5, 7, $6, $7)",
            uri, TENANT, RUN, fence, step, digest, BEGAN,
        )  # fmt: skip
    await house.tell(CheckpointCommitted, fence=fence, step=step, uri=uri)


async def _adapter(house: Healthy) -> None:
    uri = f"{TENANT}/runs/{RUN}/fence-9/adapter"
    sha256 = await house.put(f"{uri}/adapter_model.safetensors", b"learned")
    await house.run(
        "INSERT INTO gateway.artifact (job_id, name, tenant, size, sha256, uri) VALUES ($1, 'a', $2, 7, $3, $4)",
        JOB, TENANT, sha256, f"{uri}/adapter_model.safetensors",
    )  # fmt: skip
    spent = sum(end - start for _, start, end, _ in LEASES)
    await house.tell(
        RunFinished, fence=9, steps=35, adapter_uri=uri, sha256=sha256, device_seconds=spent,
        rented_seconds=80.125, rent=0.011128,
    )  # fmt: skip
    await house.tell(JobSucceeded, cost=COST, device_rate=RATE)


async def _proof(house: Healthy) -> None:
    await house.run(
        "INSERT INTO evaluator.evaluation (id, tenant, job_id, run_id, run, suites, state)"
        " VALUES ($1, $2, $3, $4, '{}', '{}', 'done')",
        EVALUATION, TENANT, JOB, RUN,
    )  # fmt: skip
    uris = {form: f"{TENANT}/reports/{EVALUATION}/report.{form}" for form in ("pdf", "html", "json")}
    digests = {form: await house.put(uri, form.encode()) for form, uri in uris.items()}
    for form, uri in uris.items():
        await house.run(
            "INSERT INTO gateway.report (job_id, format, tenant, evaluation_id, uri, sha256)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            JOB, form, TENANT, EVALUATION, uri, digests[form],
        )  # fmt: skip
    told = {f"{form}_uri": uri for form, uri in uris.items()}
    await house.tell(ReportReady, **told, **{f"{form}_sha256": digest for form, digest in digests.items()})


async def _notices(house: Healthy) -> None:
    for about in ("finished", "report"):
        await house.run(
            "INSERT INTO notifier.notice (notice_id, tenant, job_id, channel, about, fact, state, due_at)"
            " VALUES ($1, $2, $3, 'console', $4, '{}', 'delivered', $5)",
            f"notice-{about}", TENANT, JOB, about, BEGAN,
        )  # fmt: skip
        await house.tell(NoticeDelivered, notice_id=f"notice-{about}", about=about, channel="console")


Change = Callable[[Healthy], Awaitable[None]]
