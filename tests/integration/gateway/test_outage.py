"""When the broker goes away and comes back: work is taken meanwhile, and open pages miss nothing."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from deploy.provision import provision
from libs.bus.permissions import ADMIN
from libs.testing.family import descendants
from libs.testing.platform import World
from libs.testing.servers import PASSWORDS, Servers, servers
from tests.integration.gateway.conftest import listening
from tests.integration.gateway.test_live import EVERYTHING, _jobs, _page, _take


class Broker:
    """The NATS server of the test, which can be killed and started again where it was."""

    def __init__(self, folder: Path) -> None:
        [self.process] = descendants(str(folder / "nats"))
        self.command = self.process.cmdline()

    def kill(self) -> None:
        """Kill it at once."""
        self.process.kill()
        self.process.wait(10)

    def start(self) -> None:
        """Start it again."""
        self.again = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def own_servers() -> Iterator[tuple[Servers, Broker]]:
    """Servers that no other test uses."""
    with servers() as started:
        asyncio.run(provision(started.admin_url, started.nats_url, PASSWORDS))
        broker = Broker(started.folder)
        yield started, broker
        broker.again.kill()
        broker.again.wait(10)


async def test_pages_stay_open_over_a_broker_restart_and_jobs_are_taken_meanwhile(
    own_servers: tuple[Servers, Broker], tmp_path: Path
) -> None:
    started, broker = own_servers
    admin = await nats.connect(started.nats_url, user=ADMIN, password=PASSWORDS[ADMIN])
    async with listening(World(started, admin), tmp_path) as gateway, _page(gateway.http, EVERYTHING) as page:
        await anext(page)
        before = await _jobs(gateway, 2)
        seen = await _take(page, 2, "job.submitted")
        broker.kill()
        meanwhile = await _jobs(gateway, 3)
        ready = await gateway.http.get("/health/ready")
        assert (ready.status_code, "nats" in ready.text) == (503, True)
        broker.start()
        seen += await _take(page, 3, "job.submitted", seconds=40)
        after = await _jobs(gateway, 1)
        seen += await _take(page, 1, "job.submitted")
    assert [event.data["job_id"] for event in seen] == before + meanwhile + after
    await admin.close()
