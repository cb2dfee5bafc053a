"""Live pages over real connections: exact resumption, merged measurements, heart-beats, and nobody else's facts."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from contracts.base import encode, subject_of
from contracts.jobs import JobSubmitted
from libs.testing.platform import World
from tests.integration.gateway.conftest import ESTIMATE, Gateway, Story, listening

EVERYTHING = "/v1/stream"


class Event(NamedTuple):
    """One Server-Sent Event, or a comment (``kind`` is then empty)."""

    id: int | None
    kind: str
    data: dict[str, Any]


async def _events(response: httpx.Response) -> AsyncIterator[Event]:
    lines: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            lines[name or "comment"] = value
        else:
            name = lines.get("id")
            yield Event(int(name) if name else None, lines.get("event", ""), json.loads(lines.get("data", "{}")))
            lines = {}


@asynccontextmanager
async def _page(client: httpx.AsyncClient, path: str, last: int | None = None) -> AsyncIterator[AsyncIterator[Event]]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    async with client.stream("GET", path, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _events(response)


async def _take(events: AsyncIterator[Event], count: int, kinds: str = ".", seconds: float = 120) -> list[Event]:
    """Return the next facts (or measurements) that are no comments."""
    found: list[Event] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            event = await anext(events)
            if event.kind and kinds in event.kind:
                found.append(event)
    return found


async def _jobs(gateway: Gateway, count: int) -> list[str]:
    file = await gateway.upload()
    body = {"model": "SmolLM2-135M-Instruct", "training_file": file["id"]}
    return [(await gateway.http.post("/v1/fine_tuning/jobs", json=body)).json()["id"] for _ in range(count)]


async def test_a_page_that_comes_back_gets_exactly_what_it_missed(gateway: Gateway) -> None:
    async with _page(gateway.http, EVERYTHING) as page:
        await anext(page)
        submitted = await _jobs(gateway, 2)
        seen = await _take(page, 2, "job.submitted")
    submitted += await _jobs(gateway, 30)
    await gateway.world.told(JobSubmitted, count=32)
    async with _page(gateway.http, EVERYTHING, seen[0].id) as page:
        replayed = await _take(page, 31, "job.submitted")
        submitted += await _jobs(gateway, 3)
        live = await _take(page, 3, "job.submitted")
    ids = [event.id for event in replayed + live]
    assert [event.data["job_id"] for event in seen[:1] + replayed + live] == submitted
    assert ids == sorted(ids)


async def test_every_resumption_point_gives_the_same_rest(gateway: Gateway) -> None:
    await _jobs(gateway, 4)
    await gateway.world.told(JobSubmitted, count=4)
    async with _page(gateway.http, EVERYTHING, 0) as page:
        whole = await _take(page, 6)
    for number, event in enumerate(whole[:-1]):
        async with _page(gateway.http, EVERYTHING, event.id) as page:
            assert await _take(page, len(whole) - number - 1) == whole[number + 1 :]


async def test_a_job_page_tells_its_whole_story_and_nothing_else(gateway: Gateway) -> None:
    job = await gateway.submit()
    story = Story(job)
    other = Story(await gateway.submit(seed=1))
    await gateway.world.told(JobSubmitted, count=2)
    async with _page(gateway.http, f"/v1/fine_tuning/jobs/{story.job_id}/stream") as page:
        for fact in (story.dataset_ready(), other.queued(), story.queued()):
            await gateway.world.tell(fact)
        told = await _take(page, 4)
    assert [event.kind for event in told[-3:]] == ["job.submitted.v1", "dataset.ready.v1", "job.queued.v1"]
    assert {event.data.get("job_id") for event in told} == {story.job_id, None}


async def test_measurements_come_without_an_id(gateway: Gateway) -> None:
    story = Story(await gateway.submit())
    async with _page(gateway.http, EVERYTHING) as page:
        await anext(page)
        fact = story.progressed(1)
        await gateway.world.js.publish(subject_of(fact), encode(fact), stream="TELEMETRY")
        (seen,) = await _take(page, 1, "run.progressed")
    assert (seen.id, seen.data["step"]) == (None, 1)


async def test_silence_is_filled_with_comments(gateway: Gateway) -> None:
    async with _page(gateway.http, EVERYTHING) as page, asyncio.timeout(60):
        assert [(await anext(page)).kind for _ in range(3)] == ["", "", ""]


async def test_nobody_sees_another_organisations_facts(gateway: Gateway) -> None:
    async with await gateway.stranger() as stranger, _page(stranger, EVERYTHING, 0) as page:
        await _jobs(gateway, 2)
        await gateway.world.told(JobSubmitted, count=2)
        async with asyncio.timeout(60):
            assert [(await anext(page)).kind for _ in range(3)] == ["", "", ""]


@pytest.mark.parametrize("last", ["abc", "-1", "9" * 30])
async def test_an_id_that_was_never_given_is_refused(gateway: Gateway, last: str) -> None:
    answer = await gateway.http.get(EVERYTHING, headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "Last-Event-ID")


async def test_stopping_ends_open_pages_and_takes_seconds_while_facts_still_come(world: World, tmp_path: Path) -> None:
    async with listening(world, tmp_path) as gateway:
        page = await _opened(gateway)
        story = Story(await gateway.submit())
        for number in range(200):
            await world.tell(story.queued(number))
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 10
    async with asyncio.timeout(60):
        assert [event.kind async for event in page][-1:] != []


async def _opened(gateway: Gateway) -> AsyncIterator[Event]:
    client = httpx.AsyncClient(base_url=gateway.url, headers=gateway.http.headers)
    response = await client.send(client.build_request("GET", EVERYTHING), stream=True)
    return _events(response)


async def test_a_client_that_does_not_read_is_dropped_and_not_buffered_for(world: World, tmp_path: Path) -> None:
    """20 MB of facts to a client that reads nothing: the page holds 16 at most, whatever the kernel's buffers hold."""
    async with listening(world, tmp_path, stream_backlog=16) as gateway:
        story = Story(await gateway.submit())
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.settings.port))
        slow.sendall(
            f"GET {EVERYTHING} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Api-Key: {gateway.key}\r\n\r\n".encode()
        )
        assert await asyncio.to_thread(slow.recv, 15) == b"HTTP/1.1 200 OK"
        notes = msgspec.structs.replace(ESTIMATE, notes=("x" * 50_000,))
        async with _page(gateway.http, EVERYTHING) as reader:
            await anext(reader)
            for number in range(400):
                await gateway.world.tell(msgspec.structs.replace(story.queued(number), estimate=notes))
                await _take(reader, 1, "job.queued")
        received = await asyncio.to_thread(_read_to_end, slow)
        assert b"data: " in received
        assert received.count(b"\r\nid: ") < 400


def _read_to_end(connection: socket.socket) -> bytes:
    received, deadline = b"", time.monotonic() + 60
    connection.settimeout(30)
    while piece := connection.recv(1 << 20):
        received += piece
        assert time.monotonic() < deadline, "the page was not dropped"
    return received


async def test_many_open_pages_leave_the_gateway_free_to_answer(gateway: Gateway) -> None:
    job = (await gateway.submit())["id"]
    host, port = gateway.url.removeprefix("http://").split(":")
    authorization = gateway.http.headers["Authorization"]
    asked = f"GET /v1/fine_tuning/jobs/{job}/stream HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\r\n"
    async with asyncio.timeout(60), AsyncExitStack() as open_pages:
        for _ in range(200):
            reader, writer = await asyncio.open_connection(host, int(port))
            open_pages.callback(writer.close)
            writer.write(asked.encode())
            assert b" 200 " in await reader.readline()
        assert (await gateway.http.get(f"/v1/fine_tuning/jobs/{job}")).status_code == 200
