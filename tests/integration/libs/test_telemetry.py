"""One trace leads from a request to what reacts to it; logs are JSON with job and trace, without words."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from contracts.jobs import EstimateJob, JobCancelAsked, JobCancelled, JobEstimated, Overrides
from libs.bus import Router
from libs.db import Transaction
from libs.errors import NotFound
from libs.service import App
from libs.testing.platform import World

AT = datetime(2026, 11, 21, tzinfo=UTC)
CALLER = "0af7651916cd43dd8448eb211c80319c"
HTTP_HEADERS = {"traceparent": f"00-{CALLER}-b7ad6b7169203331-01"}


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Every span that ends from now on."""
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def of_caller(spans: InMemorySpanExporter) -> list[str]:
    return [span.name for span in spans.get_finished_spans() if format(span.context.trace_id, "032x") == CALLER]


async def test_one_trace_goes_from_a_request_through_two_services(world: World, spans: InMemorySpanExporter) -> None:
    seen: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    asked, cancelled = Router("scheduler"), Router("notifier")

    @asked.on(JobCancelAsked)
    async def cancel(fact: JobCancelAsked, tx: Transaction) -> None:
        await tx.tell(JobCancelled(tenant=fact.tenant, at=AT, job_id=fact.job_id))

    @cancelled.on(JobCancelled)
    async def tell_a_person(fact: JobCancelled, tx: Transaction) -> None:
        current = trace.get_current_span().get_span_context()
        await seen.put(structlog.contextvars.get_contextvars() | {"trace": format(current.trace_id, "032x")})

    gateway, scheduler = await world.platform("gateway"), await world.platform("scheduler")
    notifier = await world.platform("notifier")
    async with (
        world.service(App(Router("gateway")), gateway),
        world.service(App(asked), scheduler),
        world.service(App(cancelled), notifier),
    ):
        with trace.get_tracer("test").start_as_current_span("POST /cancel", context=extract(HTTP_HEADERS)):
            async with gateway.db.transaction("acme") as tx:
                await tx.tell(JobCancelAsked(tenant="acme", at=AT, job_id="ftjob-1"))
        context = await asyncio.wait_for(seen.get(), 60)
    assert context["trace"] == CALLER
    assert (context["tenant"], context["job"]) == ("acme", "ftjob-1")
    names = of_caller(spans)
    assert {"POST /cancel", "react job.cancel_asked.v1", "react job.cancelled.v1"} <= set(names)
    assert names.count("postgresql transaction") == 3


async def test_a_question_is_answered_in_the_askers_trace(world: World, spans: InMemorySpanExporter) -> None:
    router = Router("scheduler")

    @router.answers(EstimateJob)
    async def estimate(question: EstimateJob, tx: Transaction) -> JobEstimated:
        raise NotFound("There is no such dataset.")

    gateway = await world.platform("gateway")
    question = EstimateJob(tenant="acme", dataset_id="ds-1", base_model="m", preset="quick", overrides=Overrides())
    async with world.service(App(router), await world.platform("scheduler")):
        request = trace.get_tracer("test").start_as_current_span("GET /estimate", context=extract(HTTP_HEADERS))
        with request, pytest.raises(NotFound):
            await gateway.bus.ask(question, JobEstimated, timeout=30)
    assert {"GET /estimate", "answer EstimateJob"} <= set(of_caller(spans))


LOGGING = """
import logging, structlog
from opentelemetry import trace
from opentelemetry.propagate import extract
from libs.settings import ServiceSettings
from libs.telemetry import observe

observe(ServiceSettings(trace_share=1.0), "trainer")
log = structlog.get_logger()
log.debug("too quiet")
log.info("ready")
with trace.get_tracer("x").start_as_current_span("work"):
    with structlog.contextvars.bound_contextvars(job="ftjob-1"):
        try:
            1 / 0
        except ZeroDivisionError as error:
            log.warning("reaction failed", exc_info=error)
logging.getLogger("some.library").warning("chat said: CANARY")
"""


def test_every_line_of_a_log_is_json_with_its_job_and_trace_and_without_a_librarys_words() -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", LOGGING], cwd=root, capture_output=True, text=True, check=True)
    ready, failed, library = (json.loads(line) for line in done.stderr.splitlines())
    assert (ready["event"], ready["service"], ready["level"]) == ("ready", "trainer", "info")
    assert datetime.fromisoformat(ready["timestamp"]).tzinfo
    assert "trace_id" not in ready
    assert failed["job"] == "ftjob-1"
    assert len(failed["trace_id"]) == 32
    assert "ZeroDivisionError" in failed["exception"]
    assert library == {"level": "WARNING", "event": "some.library"}
    assert "CANARY" not in done.stderr
