"""Files: what is acknowledged can be read back; what is wrong is said; what is deleted is gone."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx
import psutil
import pytest

from contracts.datasets import DatasetAsked, DatasetRefused
from contracts.files import FileDeleted, FileUploaded
from libs.storage import Storage, StorageFull
from tests.integration.gateway.conftest import LINES, Gateway, now

FORM = {"purpose": "fine-tune"}


def _objects(gateway: Gateway) -> list[Path]:
    folder = Path(urlparse(gateway.settings.storage_url).path) / "studio" / "files"
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_an_upload_larger_than_memory_chunks_is_read_back_whole(gateway: Gateway) -> None:
    content = bytes(range(256)) * 40_000
    file = await gateway.upload(content, "grand piano é.jsonl")
    assert (file["bytes"], file["filename"]) == (len(content), "grand piano é.jsonl")
    answer = await gateway.http.get(f"/v1/files/{file['id']}/content")
    assert answer.content == content
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    told = (await gateway.world.told(FileUploaded))[0]
    assert told.sha256 == file["sha256"] == hashlib.sha256(content).hexdigest()


async def test_what_a_person_called_a_file_is_in_no_fact_and_no_key(gateway: Gateway) -> None:
    whole = await gateway.upload(LINES, "talks with Anna Muster.jsonl")
    wish = {"filename": "Muster.jsonl", "purpose": "fine-tune", "bytes": len(LINES), "mime_type": "text/plain"}
    upload = (await gateway.http.post("/v1/uploads", json=wish)).json()
    part = await gateway.http.post(f"/v1/uploads/{upload['id']}/parts", files={"data": LINES})
    done = await gateway.http.post(f"/v1/uploads/{upload['id']}/complete", json={"part_ids": [part.json()["id"]]})
    assert (whole["filename"], done.json()["file"]["filename"]) == ("talks with Anna Muster.jsonl", "Muster.jsonl")
    asked = await gateway.http.post("/v1/datasets", json={"file": whole["id"]})
    assert asked.json()["filename"] == "talks with Anna Muster.jsonl"
    facts = [*await gateway.world.told(FileUploaded, count=2), *await gateway.world.told(DatasetAsked)]
    assert "Muster" not in str(facts)
    assert [path for path in _objects(gateway) if "Muster" in str(path)] == []


async def test_a_large_upload_passes_through_without_being_held(gateway: Gateway) -> None:
    """200 MB go through; client and server together grow by less than a third of that."""
    process, piece = psutil.Process(), LINES * 512
    before = peak = process.memory_info().rss

    async def form() -> AsyncIterator[bytes]:
        nonlocal peak
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        for _ in range(200_000_000 // len(piece)):
            yield piece
            peak = max(peak, process.memory_info().rss)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    file = (await gateway.http.post("/v1/files", content=form(), headers=headers, timeout=120)).json()
    assert file["bytes"] == 200_000_000 // len(piece) * len(piece)
    assert peak - before < 66_000_000


async def test_the_file_may_come_before_the_purpose(gateway: Gateway) -> None:
    parts = [("file", ("a.jsonl", LINES)), ("purpose", (None, b"fine-tune"))]
    assert (await gateway.http.post("/v1/files", files=parts)).status_code == 200


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [("bytes=0-9", 206, LINES[:10]), ("bytes=-7", 206, LINES[-7:]), ("bytes=999999-", 416, None), ("", 200, LINES)],
)
async def test_content_in_parts(gateway: Gateway, header: str, status: int, content: bytes | None) -> None:
    file = await gateway.upload()
    answer = await gateway.http.get(f"/v1/files/{file['id']}/content", headers={"Range": header})
    assert answer.status_code == status
    if content is None:
        assert answer.headers["content-range"] == f"bytes */{len(LINES)}"
    else:
        assert answer.content == content
        assert answer.headers["content-length"] == str(len(content))


async def test_a_client_that_holds_the_file_gets_304_and_one_that_resumes_another_the_whole(gateway: Gateway) -> None:
    path = f"/v1/files/{(await gateway.upload())['id']}/content"
    etag = (await gateway.http.get(path)).headers["etag"]
    known = await gateway.http.get(path, headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    resumed = await gateway.http.get(path, headers={"Range": "bytes=5-", "If-Range": etag})
    other = await gateway.http.get(path, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (resumed.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize(
    ("request_of", "code", "field"),
    [
        ({"data": FORM, "files": {"file": ("a.jsonl", b"")}}, "empty_file", "file"),
        ({"data": {"purpose": "music"}, "files": {"file": ("a.jsonl", LINES)}}, "bad_purpose", "purpose"),
        ({"files": {"file": ("a.jsonl", LINES)}}, "bad_purpose", "purpose"),
        ({"files": {"purpose": (None, b"fine-tune")}}, "missing_file", "file"),
        ({"data": FORM | {"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
          "files": {"file": ("a.jsonl", LINES)}}, "bad_expiry", "expires_after.seconds"),
        ({"data": FORM | {"expires": "1"}, "files": {"file": ("a.jsonl", LINES)}}, "rejected", "expires"),
        ({"data": {"purpose": "x" * 2000}, "files": {"file": ("a.jsonl", LINES)}}, "bad_form", "purpose"),
        ({"files": [("file", ("a", LINES)), ("file", ("b", LINES))]}, "bad_form", "file"),
        ({"json": {"purpose": "fine-tune"}}, "bad_form", None),
        (
            {"content": b"--b\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            "bad_form",
            None,
        ),
    ],
)  # fmt: skip
async def test_a_bad_form_is_refused_and_leaves_nothing_behind(
    gateway: Gateway, request_of: dict[str, Any], code: str, field: str | None
) -> None:
    answer = await gateway.http.post("/v1/files", **request_of)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["error"]["param"] == field
    assert _objects(gateway) == []
    assert (await gateway.http.get("/v1/files")).json()["data"] == []


async def test_too_large_a_body_is_refused(gateway: Gateway) -> None:
    body = httpx.Request("POST", gateway.url, json={"model": "x" * gateway.settings.max_body_bytes}).content
    answer = await gateway.http.post("/v1/datasets", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_full_disk_is_said_and_the_upload_can_be_repeated(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StorageFull("The disk of the object storage is full. Free some space and try again; nothing was lost.")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put_stream", full)
        answer = await gateway.http.post("/v1/files", data=FORM, files={"file": ("a.jsonl", LINES)})
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert answer.headers["x-should-retry"] == "false"
    assert (await gateway.upload())["bytes"] == len(LINES)


async def test_an_upload_that_breaks_off_leaves_nothing_behind(gateway: Gateway) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + LINES
        raise ConnectionResetError

    headers = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1000000"}
    with pytest.raises(ConnectionResetError):
        await gateway.http.post("/v1/files", content=half(), headers=headers)
    assert (await gateway.http.get("/v1/files")).json()["data"] == []
    async with asyncio.timeout(60):
        while _objects(gateway):
            await asyncio.sleep(0.02)


async def test_a_deleted_file_is_gone_with_its_bytes_and_told_once(gateway: Gateway) -> None:
    file = await gateway.openai.files.create(file=("a.jsonl", LINES), purpose="fine-tune")
    assert (await gateway.openai.files.delete(file.id)).deleted
    assert _objects(gateway) == []
    assert (await gateway.http.get(f"/v1/files/{file.id}")).status_code == 404
    assert (await gateway.http.delete(f"/v1/files/{file.id}")).status_code == 404
    assert [fact.file_id for fact in await gateway.world.told(FileDeleted)] == [file.id]


async def test_a_deletion_that_a_crash_interrupted_is_ended(gateway: Gateway) -> None:
    file = await gateway.upload()
    async with gateway.platform.db.transaction("studio") as tx:
        await tx.execute("UPDATE gateway.file SET deleting_at = now() - interval '2 minutes'")
    assert [fact.file_id for fact in await gateway.world.told(FileDeleted)] == [file["id"]]
    assert _objects(gateway) == []


async def test_a_file_that_is_being_imported_is_not_deleted_until_that_is_over(gateway: Gateway) -> None:
    file = await gateway.upload()
    dataset = (await gateway.http.post("/v1/datasets", json={"file": file["id"]})).json()
    refused = await gateway.http.delete(f"/v1/files/{file['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "file_in_use")
    await gateway.world.tell(
        DatasetRefused(
            tenant="studio", at=now(), version=1, dataset_id=dataset["id"], code="no_text", message="Nothing."
        )
    )
    await gateway.until(f"/v1/datasets/{dataset['id']}", lambda found: found["state"] == "refused")
    assert (await gateway.http.delete(f"/v1/files/{file['id']}")).status_code == 200


async def test_a_file_that_no_dataset_can_be_made_of_says_why(gateway: Gateway) -> None:
    file = await gateway.upload()
    dataset = (await gateway.http.post("/v1/datasets", json={"file": file["id"]})).json()
    why = "No line of the file can train."
    told = DatasetRefused(
        tenant="studio", at=now(), version=2, dataset_id=dataset["id"], code="no_examples", message=why, problems=(),
    )  # fmt: skip
    await gateway.world.tell(told)
    shown = await gateway.until(f"/v1/files/{file['id']}", lambda file: file["status_details"])
    assert (shown["status"], shown["status_details"]) == ("error", why)
    other = await gateway.upload()
    assert (other["status"], other["status_details"]) == ("processed", None)
    listed = (await gateway.openai.files.list()).data
    assert [(each.id, each.status) for each in listed] == [(other["id"], "processed"), (file["id"], "error")]


async def test_files_are_listed_in_pages_both_ways(gateway: Gateway) -> None:
    names = [(await gateway.upload())["id"] for _ in range(5)]
    newest = [file.id async for file in gateway.openai.files.list(limit=2)]
    oldest = [file.id async for file in gateway.openai.files.list(limit=2, order="asc")]
    assert (newest, oldest) == (names[::-1], names)
    assert [file.id async for file in gateway.openai.files.list(purpose="assistants")] == []
    assert (await gateway.http.get("/v1/files?limit=0")).json()["code"] == "bad_limit"
