"""A server of Weights & Biases as its own client finds it: GraphQL for runs, file_stream for their lines.

It knows what client 0.31.0 sends (recorded from it) and refuses what that never would: other inputs of a mutation,
a line beyond the end of a file, a run that nobody made.
"""

import asyncio
import base64
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote

from msgspec import Struct, field

INPUTS = {
    "id", "name", "groupName", "modelName", "entityName", "description", "displayName", "notes", "config", "commit",
    "host", "debug", "jobProgram", "jobRepo", "jobType", "state", "sweep", "tags", "summaryMetrics",
}  # fmt: skip
STATES = {0: "finished", 255: "killed"}
LOST = "lost"
"""Does what was asked, and cuts the connection instead of answering."""

Answer = tuple[int, dict[str, Any]]


class Run(Struct):
    """A run as people see it. ``beats`` counts what came after it was made."""

    entity: str
    project: str
    name: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    state: str = "running"
    beats: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """Its lines."""
        return [json.loads(line) for line in self.files.get("wandb-history.jsonl", [])]

    @property
    def summary(self) -> dict[str, Any]:
        """The newest value of each figure."""
        return dict(json.loads(self.files.get("wandb-summary.json", ["{}"])[-1]))


class FakeWandb:
    """``troubles`` are met in turn, then it answers: a status, or ``LOST``. ``heard`` are all bodies, as they came."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.runs: dict[str, Run] = {}
        self.troubles: list[int | str] = []
        self.heard: list[str] = []
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["FakeWandb"]:
        """Listen on a free port while inside."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                trouble = self.troubles.pop(0) if self.troubles else None
                answer = (trouble, {}) if isinstance(trouble, int) else self._answer(head, headers, body.decode())
                if trouble == LOST:
                    break
                await _say(writer, *answer)
        writer.close()

    def _answer(self, head: str, headers: dict[str, str], body: str) -> Answer:
        self.heard.append(body)
        method, path, _ = head.split(" ")
        if headers.get("authorization") != f"Basic {base64.b64encode(f'api:{self.key}'.encode()).decode()}":
            return 401, {"errors": [{"message": "invalid API key"}]}
        if path == "/graphql":
            asked = json.loads(body)
            return self._graphql(asked["query"], asked.get("variables") or {})
        match [unquote(part) for part in path.split("/")]:
            case ["", "files", entity, project, run_id, "file_stream"] if method == "POST":
                return self._stream(entity, project, run_id, json.loads(body))
        return (200, {}) if method == "PUT" else (404, {})

    def _graphql(self, query: str, given: dict[str, Any]) -> Answer:
        if "upsertBucket" in query:
            return self._upsert(query, given)
        if "missingOk" in query:
            return 200, {"data": {"model": self._standing(given)}}
        if "viewer" in query:
            viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
            return 200, {"data": {"viewer": viewer}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/up/{name}"} for name in given["files"]]
            return 200, {"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}}
        return 200, {"data": {}}

    def _standing(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(given["name"])
        if run is None or run.project != given["project"]:
            return {"name": given["project"], "entity": {"name": given["entity"] or "me"}, "bucket": None}
        bucket = _bucket(run, given["name"]) | {
            "historyTail": json.dumps(run.files.get("wandb-history.jsonl", [])[-1:]),
            "eventsTail": "[]",
            "eventsLineCount": 0,
            "logLineCount": 0,
            "summaryMetrics": json.dumps(run.summary),
            "config": json.dumps(run.config),
            "tags": run.tags,
            "wandbConfig": "{}",
        }
        return {"name": run.project, "entity": {"name": run.entity}, "bucket": bucket}

    def _upsert(self, query: str, given: dict[str, Any]) -> Answer:
        fields = re.findall(r"(\w+)\s*:\s*\$", query.split("upsertBucket", 1)[1])
        if not fields or not set(fields) <= INPUTS or not given.get("name") or not given.get("project"):
            return 400, {"errors": [{"message": "not an UpsertBucketInput"}]}
        if given.get("entity") == "strangers":
            return 403, {"errors": [{"message": "permission denied"}]}
        inserted = given["name"] not in self.runs
        run = self.runs.setdefault(given["name"], Run(given.get("entity") or "me", given["project"]))
        run.name = given.get("displayName") or run.name
        run.tags = given["tags"] if given.get("tags") is not None else run.tags
        run.config = json.loads(given["config"]) if given.get("config") else run.config
        return 200, {"data": {"upsertBucket": {"bucket": _bucket(run, given["name"]), "inserted": inserted}}}

    def _stream(self, entity: str, project: str, run_id: str, said: dict[str, Any]) -> Answer:
        run = self.runs.get(run_id)
        if run is None or (run.entity, run.project) != (entity, project):
            return 404, {"error": "run not found"}
        for name, chunk in said.get("files", {}).items():
            lines = run.files.setdefault(name, [])
            if chunk["offset"] > len(lines):
                return 400, {"error": "a line is missing"}
            lines[chunk["offset"] : chunk["offset"] + len(chunk["content"])] = chunk["content"]
        run.beats += 1
        run.state = STATES.get(said["exitcode"], "failed") if said.get("complete") else "running"
        return 200, {"limits": {}}


def _bucket(run: Run, run_id: str) -> dict[str, Any]:
    project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": run.entity}}
    lines = len(run.files.get("wandb-history.jsonl", []))
    known = {"id": "b", "name": run_id, "displayName": run.name, "description": "", "config": "{}", "sweepName": None}
    return known | {"notes": "", "project": project, "historyLineCount": lines}


async def _say(writer: asyncio.StreamWriter, status: int, said: dict[str, Any]) -> None:
    body = json.dumps(said)
    head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write((head + body).encode())
    await writer.drain()
