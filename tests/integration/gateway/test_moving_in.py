"""``woodshed move-in`` from one organisation of Woodshed to another, killed on the way, on a line that fails often."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.integration.gateway.conftest import LINES, Gateway, Story

FILES = 6


class Line:
    """A server between: it passes questions on, says 429 or 500 to every fourth, and may be told to fall silent."""

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
        self.contents += path.endswith("/content")
        if self.silent_after and self.contents >= self.silent_after:
            self.silent.set()
            return
        if self.asked % 4 == 0:
            status, body = [429, 500][self.asked // 4 % 2], b'{"error": {"message": "not now"}}'
        else:
            answer = await self._gateway.http.get(path)
            status, body = answer.status_code, answer.content
        writer.write(f"HTTP/1.1 {status} .\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


async def test_killed_on_the_way_and_run_again_everything_is_here_once(gateway: Gateway, tmp_path: Path) -> None:
    stranger = await gateway.stranger()
    async with stranger as there, Line(gateway).listening() as line:
        names = [(await gateway.upload(LINES * (number + 1), f"talk {number}.jsonl"))["id"] for number in range(FILES)]
        wish = {"model": "SmolLM2-135M-Instruct", "training_file": names[0], "validation_file": names[1], "seed": 5}
        wish |= {"suffix": "coach", "metadata": {"team": "money"}, "hyperparameters": {"n_epochs": 2}}
        done = (await gateway.http.post("/v1/fine_tuning/jobs", json=wish)).json()
        waiting = (await gateway.http.post("/v1/fine_tuning/jobs", json=wish | {"seed": 6})).json()
        await gateway.world.tell(Story(done).succeeded(version=9))
        await gateway.until(f"/v1/fine_tuning/jobs/{done['id']}", lambda job: job["status"] == "succeeded")

        line.silent_after = 3
        first = await _run(gateway, there, line, tmp_path, "--train")
        async with asyncio.timeout(60):
            await line.silent.wait()
        first.kill()
        await first.wait()
        assert 1 <= len((await there.get("/v1/files")).json()["data"]) < FILES
        line.silent_after = 0
        for _ in range(2):
            again = await _run(gateway, there, line, tmp_path, "--train")
            said = (await again.communicate())[0].decode()
            assert again.returncode == 0, said
            assert "1 of 1 jobs" in said
            assert f"{waiting['id']}" in said

        files = (await there.get("/v1/files")).json()["data"]
        ours = (await gateway.http.get("/v1/files")).json()["data"]
        assert sorted((each["filename"], each["sha256"]) for each in files) == sorted(
            (each["filename"], each["sha256"]) for each in ours
        )
        [job] = (await there.get("/v1/fine_tuning/jobs")).json()["data"]
        arrived = {each["id"]: each["filename"] for each in files}
        assert (arrived[job["training_file"]], arrived[job["validation_file"]]) == ("talk 0.jsonl", "talk 1.jsonl")
        assert (job["seed"], job["hyperparameters"]["n_epochs"], job["woodshed"]["suffix"]) == (5, 2, "coach")
        assert job["metadata"] == {"team": "money", "moved_from": f"{line.url[7:-3]}/{done['id']}"}
        [written] = tmp_path.glob("*.report.json")
        report: dict[str, Any] = json.loads(written.read_text())
        assert report["files"].keys() == set(names)
        assert {each["name"] for each in report["left"]} >= {waiting["id"], "ft:coach"}


async def _run(
    gateway: Gateway, there: httpx.AsyncClient, line: Line, folder: Path, *more: str
) -> asyncio.subprocess.Process:
    key = there.headers["Authorization"].removeprefix("Bearer ")
    command = ["-m", "services.cli", "--url", gateway.url, "--key", key, "move-in", "--from", line.url]
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, "--from-key", gateway.key, *more, cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
