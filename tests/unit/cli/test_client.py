"""The command line's way to the API: breaks are mended where that is safe, and named where it is not."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from services.cli.access import Access
from services.cli.client import Api, LiveEvent, parse
from services.cli.errors import Refused, Unreachable

HERE = Access("http://127.0.0.1:1", "wsk-a-b")
BODY = bytes(range(256)) * 40
SHA = hashlib.sha256(BODY).hexdigest()


class Broken(httpx.AsyncByteStream):
    """A body that breaks off after some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def __aiter__(self):
        yield self.data
        raise httpx.ReadError("cable cut")


def api(answer: Callable[[httpx.Request], httpx.Response]) -> Api:
    return Api(HERE, transport=httpx.MockTransport(answer), pause=0)


async def test_a_repeated_post_carries_the_same_idempotency_key() -> None:
    keys = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            raise httpx.ReadError("cable cut")
        return httpx.Response(200, json={"id": "j"})

    async with api(answer) as here:
        assert await here.post("/v1/fine_tuning/jobs", {}) == {"id": "j"}
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_a_dead_gateway_is_named_with_what_to_do() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with api(answer) as here:
        with pytest.raises(Unreachable, match="make up") as error:
            await here.get("/v1/files")
    assert error.value.code == 4


async def test_a_problem_keeps_its_field_and_fix() -> None:
    body = {"status": 422, "detail": "No.", "code": "bad", "field": "preset", "fix": "Choose another."}
    async with api(lambda _: httpx.Response(422, json=body)) as here:
        with pytest.raises(Refused) as error:
            await here.get("/v1/files")
    assert (error.value.code, error.value.problem.field, error.value.problem.fix) == (3, "preset", "Choose another.")


async def test_another_program_at_the_address_is_recognised() -> None:
    for status in (200, 404):
        async with api(lambda _, status=status: httpx.Response(status, html="<h1>My router</h1>")) as here:
            with pytest.raises(Refused, match=f"answered {status}") as error:
                await here.get("/v1/files")
        assert "--url" in str(error.value.problem.fix)


async def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("Range"))
        if len(asked) == 1:
            return httpx.Response(200, stream=Broken(BODY[:1000]))
        assert request.headers["If-Range"] == f'"{SHA}"'
        return httpx.Response(206, content=BODY[1000:])

    arrived: list[int] = []
    async with api(answer) as here:
        await here.download("/x", tmp_path / "x", SHA, arrived.append)
    assert asked == [None, "bytes=1000-"]
    assert (tmp_path / "x").read_bytes() == BODY
    assert arrived == [1000, len(BODY)]
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


async def test_a_damaged_download_is_thrown_away(tmp_path: Path) -> None:
    async with api(lambda _: httpx.Response(200, content=BODY[:-1])) as here:
        with pytest.raises(Unreachable, match="damaged"):
            await here.download("/x", tmp_path / "x", SHA, lambda _: None)
    assert list(tmp_path.iterdir()) == []


async def test_a_broken_stream_goes_on_after_the_last_event_with_an_id() -> None:
    resumed: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        resumed.append(request.headers.get("Last-Event-ID"))
        if len(resumed) == 1:
            return httpx.Response(200, stream=Broken(b"id: 7\nevent: a\ndata: 1\n\nevent: m\ndata: 2\n\n"))
        if len(resumed) == 2:
            return httpx.Response(503, json={"status": 503, "detail": "starting"})
        return httpx.Response(200, content=b"id: 8\nevent: a\ndata: 3\n\n")

    said: list[str] = []
    found: list[LiveEvent] = []
    async with api(answer) as here:
        async for event in here.live("/s", said.append):
            found.append(event)
            if event.id == "8":
                break
    assert resumed == [None, "7", "7"]
    assert [each.data for each in found] == [b"1", b"2", b"3"]
    assert len(said) == 1
    assert "cable cut" in said[0]


async def test_a_stream_that_is_refused_is_not_asked_again() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(404, json={"status": 404, "detail": "There is no job 'x'."})

    async with api(answer) as here:
        with pytest.raises(Refused, match="no job"):
            async for _ in here.live("/s", lambda _: None):
                pass
    assert len(asked) == 1


async def test_server_sent_events_are_read_as_the_standard_says() -> None:
    async def lines():
        for line in (": hello", "retry: 1000", "", "id: 3", "event: job.queued.v1", "data: {", "data:}", "", "data: z"):
            yield line

    assert [each async for each in parse(lines())] == [LiveEvent("3", "job.queued.v1", b"{\n}")]
