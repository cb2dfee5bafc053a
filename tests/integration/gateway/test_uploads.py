"""Uploads in parts: what was acknowledged becomes one file in the order its owner says; what is thrown away is gone."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import psutil

from contracts.files import FileUploaded
from libs.testing.platform import World
from services.gateway.expiring import GRACE, Expirer
from tests.integration.gateway.conftest import LINES, Gateway, listening

UPLOADS = "/v1/uploads"
PIECE = LINES * 512
MEGABYTES = 1_000_000


def _objects(gateway: Gateway) -> list[Path]:
    folder = Path(urlparse(gateway.settings.storage_url).path) / "studio"
    return [path for path in folder.rglob("*") if path.is_file()]


async def _until_left(gateway: Gateway, names: list[str]) -> None:
    """Await that these objects alone are left: the gateway's own loop may be at it too."""
    async with asyncio.timeout(30):
        while [path.name for path in _objects(gateway)] != names:
            await asyncio.sleep(0.02)


async def _begin(gateway: Gateway, size: int, **changes: Any) -> str:
    wish = {"filename": "chats.jsonl", "purpose": "fine-tune", "bytes": size, "mime_type": "application/jsonl"}
    answer = await gateway.http.post(UPLOADS, json=wish | changes)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def _send(gateway: Gateway, upload: str, content: bytes) -> str:
    answer = await gateway.http.post(f"{UPLOADS}/{upload}/parts", files={"data": ("part", content)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_parts_in_any_order_become_the_file_their_owner_means(gateway: Gateway) -> None:
    content = bytes(range(256)) * 40_000
    pieces = [content[:3_000_000], content[3_000_000:7_000_000], content[7_000_000:]]
    upload = await _begin(gateway, len(content), expires_after={"anchor": "created_at", "seconds": 7200})
    last, *others = await asyncio.gather(*(_send(gateway, upload, piece) for piece in pieces[::-1]))
    wish = {"part_ids": [*others[::-1], last], "md5": hashlib.md5(content, usedforsecurity=False).hexdigest()}
    done = (await gateway.http.post(f"{UPLOADS}/{upload}/complete", json=wish)).json()
    assert (done["status"], done["file"]["bytes"]) == ("completed", len(content))
    assert done["file"]["expires_at"] == done["file"]["created_at"] + 7200
    assert (await gateway.http.get(f"/v1/files/{done['file']['id']}/content")).content == content
    told = (await gateway.world.told(FileUploaded))[0]
    assert (told.file_id, told.sha256) == (done["file"]["id"], hashlib.sha256(content).hexdigest())

    again = await gateway.http.post(f"{UPLOADS}/{upload}/complete", json=wish)
    assert again.json() == done, "an answer that was lost is given again"
    assert len(await gateway.world.all_told(FileUploaded)) == 1
    await Expirer(gateway.platform.db, gateway.platform.storage).look(datetime.now(UTC))
    await _until_left(gateway, ["content"])
    assert (await gateway.http.get(f"/v1/files/{done['file']['id']}/content")).content == content


async def test_a_body_that_comes_too_slowly_is_cut_off_and_nothing_of_it_stays(world: World, tmp_path: Path) -> None:
    slow = {"body_patience_seconds": 1.0, "body_bytes_per_second": 1e9}
    async with listening(world, tmp_path, **slow) as gateway:
        upload = await _begin(gateway, 1000)
        kept = await _send(gateway, upload, b"x" * 1000)
        form = b'--b\r\nContent-Disposition: form-data; name="%b"; filename="f"\r\n\r\n'
        answers = await asyncio.gather(
            _dribble(gateway, "/v1/files", form % b"file", b"x"),
            _dribble(gateway, f"{UPLOADS}/{upload}/parts", form % b"data", b"x"),
            _dribble(gateway, UPLOADS, b"{", b" "),
            _dribble(gateway, "/v1/sessions", b"", b""),
        )
        for status, problem in answers:
            assert (status, problem["code"]) == (408, "body_too_slow")
            assert {problem["error"]["type"], problem["error"]["code"]} == {"invalid_request_error", "body_too_slow"}
        await _until_left(gateway, [kept])
        done = await gateway.http.post(f"{UPLOADS}/{upload}/complete", json={"part_ids": [kept]})
        assert done.json()["file"]["bytes"] == 1000


async def _dribble(gateway: Gateway, path: str, begin: bytes, more: bytes) -> tuple[int, Any]:
    """Send a body a byte at a time until it is answered and hung up on."""
    kind = "multipart/form-data; boundary=b" if begin.startswith(b"--b") else "application/json"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.settings.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n"
    writer.write(f"{head}Authorization: Bearer {gateway.key}\r\n\r\n".encode() + begin)
    answered = asyncio.create_task(reader.read())
    with contextlib.suppress(ConnectionError):
        while not answered.done():
            writer.write(more)
            await writer.drain()
            await asyncio.wait({answered}, timeout=0.05)
    async with asyncio.timeout(30):
        said = await answered
    writer.close()
    top, _, body = said.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)


async def test_two_completions_at_once_make_one_file_that_reads_back_as_told(gateway: Gateway) -> None:
    upload = await _begin(gateway, 2 * len(PIECE))
    parts = [await _send(gateway, upload, PIECE), await _send(gateway, upload, PIECE[::-1])]
    answers = await asyncio.gather(
        *(
            gateway.http.post(f"{UPLOADS}/{upload}/complete", json={"part_ids": order})
            for order in (parts, parts[::-1], parts, parts[::-1])
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(await gateway.world.all_told(FileUploaded)) == 1
    (file,) = (await gateway.http.get("/v1/files")).json()["data"]
    assert {answer.json()["file"]["id"] for answer in answers} == {file["id"]}
    content = (await gateway.http.get(f"/v1/files/{file['id']}/content")).content
    assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert len([path for path in _objects(gateway) if path.name == "content"]) == 1


async def test_what_cannot_become_a_file_is_refused_by_name_and_leaves_none(gateway: Gateway) -> None:
    upload = await _begin(gateway, len(LINES))
    part = await _send(gateway, upload, LINES)
    short = await _send(gateway, upload, LINES[:-1])
    other = await _send(gateway, await _begin(gateway, 5), b"12345")
    for wish, code, field in (
        ({"part_ids": [part], "md5": "0" * 32}, "md5_mismatch", "md5"),
        ({"part_ids": [short]}, "wrong_size", "part_ids"),
        ({"part_ids": [other]}, "unknown_part", "part_ids"),
        ({"part_ids": []}, "invalid_request", "part_ids"),
    ):
        answer = await gateway.http.post(f"{UPLOADS}/{upload}/complete", json=wish)
        assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
        assert answer.json()["error"]["param"] == field
    assert (await gateway.http.get("/v1/files")).json()["data"] == []
    assert [path for path in _objects(gateway) if path.name == "content"] == []
    good = await gateway.http.post(f"{UPLOADS}/{upload}/complete", json={"part_ids": [part]})
    assert good.json()["file"]["bytes"] == len(LINES), "after a refusal it can still be made right"


async def test_an_upload_that_was_cancelled_or_ran_out_takes_nothing_more_and_leaves_nothing(gateway: Gateway) -> None:
    cancelled, late = await _begin(gateway, len(LINES)), await _begin(gateway, len(LINES))
    parts = {name: await _send(gateway, name, LINES) for name in (cancelled, late)}
    assert (await gateway.http.post(f"{UPLOADS}/{cancelled}/cancel")).json()["status"] == "cancelled"
    assert (await gateway.http.post(f"{UPLOADS}/{cancelled}/cancel")).json()["status"] == "cancelled"
    async with gateway.platform.db.transaction("studio") as tx:
        await tx.execute("UPDATE gateway.upload SET expires_at = now() WHERE upload_id = $1", late)
    for name, code in ((cancelled, "upload_cancelled"), (late, "upload_expired")):
        for answer in (
            await gateway.http.post(f"{UPLOADS}/{name}/parts", files={"data": ("part", LINES)}),
            await gateway.http.post(f"{UPLOADS}/{name}/complete", json={"part_ids": [parts[name]]}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (400, code)
    later = datetime.now(UTC) + GRACE + timedelta(seconds=1)
    await Expirer(gateway.platform.db, gateway.platform.storage).look(later)
    await _until_left(gateway, [])


async def test_a_part_over_the_limit_is_refused_and_a_file_over_the_installations_too(
    world: World, tmp_path: Path
) -> None:
    async with listening(world, tmp_path, max_part_bytes=1000, max_upload_bytes=10**6) as gateway:
        upload = await _begin(gateway, 10**6)
        answer = await gateway.http.post(f"{UPLOADS}/{upload}/parts", files={"data": ("part", b"x" * 200_000)})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.headers["connection"] == "close"
        wish = {"filename": "a", "purpose": "fine-tune", "bytes": 10**6 + 1, "mime_type": "text/plain"}
        answer = await gateway.http.post(UPLOADS, json=wish)
        assert (answer.status_code, answer.json()["error"]["param"]) == (413, "bytes")
        assert not _objects(gateway)


async def test_large_parts_pass_through_without_being_held(gateway: Gateway) -> None:
    """180 MB come in three parts and are joined; client and server together grow by less than half of that."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    count = 60 * MEGABYTES // len(PIECE)
    upload = await _begin(gateway, 3 * count * len(PIECE))

    async def form() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="part"\r\n\r\n'
        for _ in range(count):
            yield PIECE
        yield b"\r\n--b--\r\n"

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.005)

    watching = asyncio.create_task(watch())
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    place = f"{UPLOADS}/{upload}/parts"
    parts = [
        (await gateway.http.post(place, content=form(), headers=headers, timeout=120)).json()["id"] for _ in range(3)
    ]
    done = await gateway.http.post(f"{UPLOADS}/{upload}/complete", json={"part_ids": parts}, timeout=120)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    assert done.json()["file"]["bytes"] == 3 * count * len(PIECE)
    assert peak - before < 90 * MEGABYTES, f"{(peak - before) / MEGABYTES:.0f} MB"


async def test_a_file_whose_time_is_over_is_gone_with_its_bytes(gateway: Gateway) -> None:
    form = {"purpose": "user_data", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = (await gateway.http.post("/v1/files", data=form, files={"file": ("a.txt", LINES)})).json()
    assert file["expires_at"] == file["created_at"] + 3600
    assert (await gateway.http.get(f"/v1/files/{file['id']}")).json() == file
    async with gateway.platform.db.transaction("studio") as tx:
        await tx.execute("UPDATE gateway.file SET expires_at = now() - interval '1 second'")
    assert (await gateway.http.get(f"/v1/files/{file['id']}")).status_code == 404
    assert (await gateway.http.get("/v1/files")).json()["data"] == []
    await Expirer(gateway.platform.db, gateway.platform.storage).look(datetime.now(UTC))
    await _until_left(gateway, [])
