"""Fixtures everybody shares: real servers once a session, emptied for each test, and the shipped model."""

import asyncio
import ctypes
import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis  # also because its plugin imports it while pytest sums up, when threads are still about
import nats
import pytest

from contracts.recipes import SHIPPED_MODEL
from deploy.provision import provision
from libs.bus.permissions import ADMIN
from libs.embedded.home import Home
from libs.lm.sharing import SHARED_CORES
from libs.testing.platform import World, empty
from libs.testing.servers import PASSWORDS, Servers, servers

os.environ.update(SHARED_CORES)
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")


def _keep_to_own_cores() -> None:
    """Make a worker of ``pytest -n`` a machine of its own: what it starts competes with nothing of its neighbour's.

    Otherwise the trainings and evaluations that a test awaits, which step aside for everybody, would stand still
    while the neighbour computes.
    """
    worker, count = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if worker and hasattr(os, "sched_setaffinity") and len(cores := sorted(os.sched_getaffinity(0))) >= count:
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) % count :: count])


_keep_to_own_cores()


@pytest.fixture(autouse=True, scope="module")
def _collected() -> None:
    """Keep what earlier modules left out of later collections: a trainer collects after each run, and all there is.

    The C library keeps what they freed, gigabytes after trainings, until it is asked to give it back.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def real_servers() -> Iterator[Servers]:
    """NATS and PostgreSQL from their wheels, provisioned like an installation."""
    with servers() as started:
        asyncio.run(provision(started.admin_url, started.nats_url, PASSWORDS))
        yield started


@pytest.fixture
async def world(real_servers: Servers) -> AsyncIterator[World]:
    """The servers with no row and no message in them."""
    await empty(real_servers)
    client = await nats.connect(real_servers.nats_url, user=ADMIN, password=PASSWORDS[ADMIN])
    world = World(real_servers, client)
    try:
        yield world
    finally:
        await world.close()
        await client.close()


@pytest.fixture(scope="session")
def shipped_model() -> Path:
    """The folder of SmolLM2-135M-Instruct, converted once for the checkout."""
    from libs.lm.shipped import install

    models = Home.default().models
    install(models)
    return models / SHIPPED_MODEL


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A server that speaks S3, with a bucket named woodshed."""
    import httpx
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    httpx.put(f"http://{host}:{port}/woodshed").raise_for_status()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a bucket, for this process and those it starts."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return "s3://woodshed"
