"""A gateway that really listens: granian, NATS, PostgreSQL, a folder for storage, and keys of two organisations."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from openai import AsyncOpenAI

from contracts.base import Event
from contracts.datasets import DatasetReady
from contracts.evaluations import ReportReady
from contracts.jobs import Estimate, JobDispatched, JobQueued, JobSucceeded
from contracts.recipes import SHIPPED_MODEL, Recipe
from contracts.runs import RunFinished, RunProgressed
from libs.embedded.home import free_port
from libs.service import Platform
from libs.storage import Storage
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS
from services.gateway import collecting
from services.gateway.app import build
from services.gateway.bootstrap import bootstrap
from services.gateway.settings import Settings

collecting.POLL = 0.2

PEPPER = "a pepper of at least thirty-two characters"
SIGNING_KEY = PASSWORDS["signing"]
LINES = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}\n' * 20
RECIPE = Recipe(base_model=SHIPPED_MODEL)
ESTIMATE = Estimate(
    seconds=180, seconds_low=150, seconds_high=240, cost=0.02, currency="EUR", memory_bytes=2**31, steps=45, tokens=9000
)


class Gateway(NamedTuple):
    """A running gateway and everybody around it."""

    url: str
    key: str
    world: World
    platform: Platform
    http: httpx.AsyncClient
    openai: AsyncOpenAI
    settings: Settings

    async def upload(self, content: bytes = LINES, filename: str = "chats.jsonl") -> dict[str, Any]:
        """Upload a file and return it."""
        form = {"file": (filename, content)}
        response = await self.http.post("/v1/files", data={"purpose": "fine-tune"}, files=form)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def submit(self, **changes: Any) -> dict[str, Any]:
        """Submit a job on a fresh upload and return it."""
        body = {"model": SHIPPED_MODEL, "training_file": (await self.upload())["id"]} | changes
        response = await self.http.post("/v1/fine_tuning/jobs", json=body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def job(self, job_id: str) -> dict[str, Any]:
        """Read a job."""
        return dict((await self.http.get(f"/v1/fine_tuning/jobs/{job_id}")).json())

    async def until(self, path: str, seen: Any, seconds: float = 120.0) -> Any:
        """Read a path until what it answers is as expected."""
        answer: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    answer = (await self.http.get(path)).json()
                    if seen(answer):
                        return answer
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{path} still answers {answer}") from None

    async def stranger(self) -> httpx.AsyncClient:
        """Return a client of another organisation."""
        key = await bootstrap(self.platform.db, "rival", PEPPER)
        return httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {key}"})


@asynccontextmanager
async def listening(world: World, folder: Path, **chosen: Any) -> AsyncIterator[Gateway]:
    """Run a gateway with a storage of its own; ``chosen`` are settings that shall not be the defaults."""
    port, storage_url = free_port(), f"file://{folder}"
    timely = {
        "heartbeat_seconds": 0.2,
        "last_use_seconds": 0.05,
        "signing_key": SIGNING_KEY,
    }
    settings = world.settings(Settings, port=port, key_pepper=PEPPER, storage_url=storage_url, **(timely | chosen))
    assert isinstance(settings, Settings)
    connected = await world.platform("gateway")
    platform = Platform(connected.db, connected.bus, Storage.open(storage_url))
    key = await bootstrap(platform.db, "studio", PEPPER)
    assert key
    url = f"http://127.0.0.1:{port}"
    async with (
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        AsyncOpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0) as openai,
        world.service(await build(settings, platform), platform),
    ):
        await _ready(http)
        yield Gateway(url, key, world, platform, http, openai, settings)
    await platform.db.close()


@pytest.fixture
async def gateway(world: World, tmp_path: Path) -> AsyncIterator[Gateway]:
    """Run a gateway for one test."""
    async with listening(world, tmp_path) as running:
        yield running


async def _ready(http: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if (await http.get("/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)


_last = datetime.now(UTC)


def now() -> datetime:
    """The time, as facts have it: later each time, also within a microsecond and when the clock is put back."""
    global _last
    _last = max(datetime.now(UTC), _last + timedelta(microseconds=1))
    return _last


class Story:
    """The facts of a job's life, as their owners would tell them."""

    def __init__(self, job: dict[str, Any], tenant: str = "studio", model: str = "ft:coach") -> None:
        self.tenant = tenant
        self.model = model
        self.job_id = job["id"]
        self.dataset_id = job["woodshed"]["dataset"]
        self.run_id = f"run-{self.job_id.removeprefix('ftjob-')}"

    def dataset_ready(self) -> Event:
        """The dataset service read the file."""
        return DatasetReady(
            tenant=self.tenant,
            at=now(),
            version=2,
            dataset_id=self.dataset_id,
            digest="a" * 64,
            uri=f"{self.tenant}/datasets/{'a' * 64}",
            base_model=SHIPPED_MODEL,
            format="openai",
            train_examples=16,
            validation_examples=2,
            test_examples=2,
            train_tokens=900,
            trained_tokens=300,
            truncated=0,
        )

    def queued(self, version: int = 1) -> Event:
        """The scheduler queued the job."""
        return JobQueued(
            tenant=self.tenant, at=now(), version=version, job_id=self.job_id, recipe=RECIPE, estimate=ESTIMATE
        )

    def dispatched(self, version: int = 2) -> Event:
        """The scheduler gave it a device."""
        return JobDispatched(
            tenant=self.tenant,
            at=now(),
            version=version,
            job_id=self.job_id,
            run_id=self.run_id,
            offer_id="offer-1",
            device_id="cpu-0",
            recipe=RECIPE,
            estimate=ESTIMATE,
            dataset_id=self.dataset_id,
            dataset_digest="a" * 64,
            dataset_uri=f"{self.tenant}/datasets/{'a' * 64}",
        )

    def progressed(self, step: int, loss: float = 2.0, attempt: int = 1) -> RunProgressed:
        """The trainer measured a step."""
        return RunProgressed(
            tenant=self.tenant,
            at=now(),
            run_id=self.run_id,
            job_id=self.job_id,
            attempt=attempt,
            step=step,
            total_steps=45,
            epoch=step / 15,
            loss=loss,
            learning_rate=2e-4,
            grad_norm=1.0,
            tokens=step * 200,
            tokens_per_second=120.0,
            samples_per_second=2.0,
            eta_seconds=60.0,
            memory_bytes=2**31,
            token_accuracy=0.5,
        )

    def finished(self, weights: bytes, version: int = 9) -> Event:
        """The trainer stored the adapter."""
        return RunFinished(
            tenant=self.tenant,
            at=now(),
            version=version,
            run_id=self.run_id,
            job_id=self.job_id,
            fence=1,
            base_model=SHIPPED_MODEL,
            dataset_id=self.dataset_id,
            dataset_digest="a" * 64,
            dataset_uri=f"{self.tenant}/datasets/{'a' * 64}",
            adapter_uri=self.adapter,
            sha256=hashlib.sha256(weights).hexdigest(),
            size=len(weights),
            steps=45,
            tokens=9000,
            trained_tokens=3000,
            device_seconds=100.0,
            train_seconds=90.0,
            memory_bytes=2**31,
            train_loss=1.5,
            interruptions=0,
            seed=42,
        )

    def succeeded(self, version: int = 3) -> Event:
        """The scheduler ended the job well."""
        return JobSucceeded(
            tenant=self.tenant,
            at=now(),
            version=version,
            job_id=self.job_id,
            run_id=self.run_id,
            model=self.model,
            trained_tokens=3000,
            seconds=100.0,
            cost=0.01,
        )

    def report(self, pages: dict[str, bytes]) -> Event:
        """The evaluator wrote the report."""
        folder = f"{self.tenant}/reports/eval-1"
        digests = {name: hashlib.sha256(page).hexdigest() for name, page in pages.items()}
        return ReportReady(
            tenant=self.tenant,
            at=now(),
            version=4,
            evaluation_id="eval-1",
            job_id=self.job_id,
            pdf_uri=f"{folder}/report.pdf",
            html_uri=f"{folder}/report.html",
            json_uri=f"{folder}/report.json",
            pdf_sha256=digests["pdf"],
            html_sha256=digests["html"],
            json_sha256=digests["json"],
            verdict="better",
            headline="12 % better on words it never saw",
        )

    @property
    def adapter(self) -> str:
        """Where the adapter lies."""
        return f"{self.tenant}/runs/{self.run_id}/adapter"
