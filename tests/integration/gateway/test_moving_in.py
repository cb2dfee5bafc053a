"""``woodshed move-in`` from one Woodshed to another that shares nothing with it, killed on the way, on a bad line."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from contracts.jobs import JobSubmitted
from deploy.provision import provision_bus, provision_database
from libs.bus.permissions import ADMIN
from libs.db import Database
from libs.embedded.home import free_port
from libs.testing.servers import PASSWORDS, Servers, broker
from services.gateway.bootstrap import bootstrap
from tests.integration.gateway.conftest import LINES, Gateway, Story

ROOT = Path(__file__).resolve().parents[3]
FILES = 5
BUSY, AT_FAULT = 2, 9
"""Which questions of all are answered so."""
BROKEN = 4
"""Which download breaks off."""
ANOTHER = "another"
PEPPER = "another pepper, of more than thirty-two characters"


class Line:
    """A server between: it passes questions on, two to a page, and may be told to fall silent.

    One answer is 429 with ``Retry-After``, one is 500, and one download breaks off in the middle.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.url = ""
        self.asked = 0
        self.contents = 0
        self.silent_after = 0
        self.silent = asyncio.Event()
        self._gateway = gateway

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Line"]:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        self.asked += 1
        if path.endswith("/content"):
            self.contents += 1
        if self.silent_after and self.contents >= self.silent_after:
            self.silent.set()
            return
        status, more, body = await self._answer(path)
        writer.write(
            f"HTTP/1.1 {status} .\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n".encode()
            + (body[: len(body) // 2] if self.contents == BROKEN else body)
        )
        await writer.drain()
        writer.close()

    async def _answer(self, path: str) -> tuple[int, str, bytes]:
        if self.asked == BUSY:
            return 429, "Retry-After: 1\r\n", b'{"error": {"message": "slower"}}'
        if self.asked == AT_FAULT:
            return 500, "", b'{"error": {"message": "not now"}}'
        answer = await self._gateway.http.get(path.replace("limit=100", "limit=2"))
        return answer.status_code, "", answer.content


@asynccontextmanager
async def another_woodshed(servers: Servers, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway process with a broker, a database, a storage and secrets of its own; yields its owner's client."""
    admin_url = await provision_database(servers.admin_url, PASSWORDS, ANOTHER)
    database_url = servers.database_url("gateway", ANOTHER)
    try:
        with broker(folder) as nats_url:
            await provision_bus(nats_url, PASSWORDS[ADMIN])
            db = await Database.connect(database_url, "gateway")
            key = await bootstrap(db, "studio", PEPPER)
            await db.close()
            port = free_port()
            told = {
                "WOODSHED_NATS_URL": nats_url,
                "WOODSHED_NATS_PASSWORD": PASSWORDS["gateway"],
                "WOODSHED_DATABASE_URL": database_url,
                "WOODSHED_STORAGE_URL": f"file://{folder / 'storage'}",
                "WOODSHED_GATEWAY_KEY_PEPPER": PEPPER,
                "WOODSHED_GATEWAY_PORT": str(port),
            }
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.gateway", env=os.environ | told, cwd=ROOT
            )
            try:
                async with httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=20
                ) as there:
                    await _ready(there, process)
                    yield there
            finally:
                process.kill()
                await process.wait()
    finally:
        admin = await asyncpg.connect(servers.admin_url)
        await admin.execute(f"DROP DATABASE {admin_url.rsplit('/', 1)[1]} WITH (FORCE)")
        await admin.close()


async def _ready(there: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while process.returncode is None:
            try:
                if (await there.get("/health/ready")).is_success:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise AssertionError(f"the other gateway ended with {process.returncode}")


async def test_killed_on_the_way_and_run_again_everything_is_here_once(gateway: Gateway, tmp_path: Path) -> None:
    async with another_woodshed(gateway.world.servers, tmp_path / "there") as there, Line(gateway).listening() as line:
        names = [(await gateway.upload(LINES * (number + 1), f"talk {number}.jsonl"))["id"] for number in range(FILES)]
        wish = {"model": "SmolLM2-135M-Instruct", "training_file": names[0], "validation_file": names[1], "seed": 5}
        wish |= {"suffix": "coach", "metadata": {"team": "money"}, "hyperparameters": {"n_epochs": 2}}
        done = (await gateway.http.post("/v1/fine_tuning/jobs", json=wish)).json()
        waiting = (await gateway.http.post("/v1/fine_tuning/jobs", json=wish | {"seed": 6})).json()
        await gateway.world.tell(Story(done).succeeded(version=9))
        await gateway.until(f"/v1/fine_tuning/jobs/{done['id']}", lambda job: job["status"] == "succeeded")

        line.silent_after = 3
        first = await _run(gateway, there, line, tmp_path)
        async with asyncio.timeout(60):
            await line.silent.wait()
        first.kill()
        await first.wait()
        assert 1 <= len((await there.get("/v1/files")).json()["data"]) < FILES
        line.silent_after = 0
        for _ in range(2):
            again = await _run(gateway, there, line, tmp_path)
            said = (await again.communicate())[0].decode()
            assert again.returncode == 0, said
            assert "1 of 1 jobs" in said
            assert f"{waiting['id']}" in said

        assert (line.asked > AT_FAULT, line.contents > BROKEN) == (True, True), "every way to go wrong was met"
        files = (await there.get("/v1/files")).json()["data"]
        ours = (await gateway.http.get("/v1/files")).json()["data"]
        assert len(files) == FILES
        assert sorted((each["filename"], each["sha256"]) for each in files) == sorted(
            (each["filename"], each["sha256"]) for each in ours
        )
        assert {each["id"] for each in files}.isdisjoint(names)
        [job] = (await there.get("/v1/fine_tuning/jobs")).json()["data"]
        arrived = {each["id"]: each["filename"] for each in files}
        assert (arrived[job["training_file"]], arrived[job["validation_file"]]) == ("talk 0.jsonl", "talk 1.jsonl")
        assert (job["seed"], job["hyperparameters"]["n_epochs"], job["woodshed"]["suffix"]) == (5, 2, "coach")
        assert job["metadata"] == {"team": "money", "moved_from": f"{line.url[7:-3]}/{done['id']}"}
        assert len(await gateway.world.all_told(JobSubmitted)) == 2, "the server that was moved from was only read"
        [written] = tmp_path.glob("*.report.json")
        report: dict[str, Any] = json.loads(written.read_text())
        assert report["files"].keys() == set(names)
        assert {each["name"] for each in report["left"]} >= {waiting["id"], "ft:coach"}


async def _run(gateway: Gateway, there: httpx.AsyncClient, line: Line, folder: Path) -> asyncio.subprocess.Process:
    key = there.headers["Authorization"].removeprefix("Bearer ")
    command = ["-m", "services.cli", "--url", str(there.base_url), "--key", key, "move-in", "--from", line.url]
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, "--from-key", gateway.key, "--train", cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
