"""Objects come back as they were written, from a folder and from a server that speaks S3."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.errors import NotFound
from libs.storage import Corrupted, Storage, hash_file

MEGABYTE = 1_000_000


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return Storage.open(f"file://{tmp_path / 'storage'}")
    return Storage.open(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


async def in_chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def together(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("size", [0, 1, 3 * MEGABYTE, 23 * MEGABYTE])
async def test_what_is_written_in_any_way_is_read_back(storage: Storage, tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    path = tmp_path / "given"
    path.write_bytes(data)
    stored = [
        await storage.put_bytes("acme/a", data),
        await storage.put_file("acme/b", path),
        await storage.put_stream("acme/c", in_chunks(data, 700_000)),
    ]
    for key, each in zip("abc", stored, strict=True):
        assert (each.size, each.sha256) == (size, hashlib.sha256(data).hexdigest())
        assert await storage.size(f"acme/{key}") == size
        assert await storage.get_bytes(f"acme/{key}") == data
        fetched = await storage.fetch(f"acme/{key}", tmp_path / "back" / key, sha256=each.sha256)
        assert hash_file(fetched) == each


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, None), (5, 9), (0, 1), (999_999, 2_500_000), (2_499_999, None), (9, 9), (2_400_000, 9_000_000)],
)
async def test_a_range_is_streamed(storage: Storage, start: int, end: int | None) -> None:
    data = random.Random(1).randbytes(2_500_000)
    await storage.put_bytes("acme/file", data)
    assert await together(storage.stream("acme/file", start, end)) == data[start:end]


async def test_an_object_written_again_is_replaced_whole(storage: Storage) -> None:
    await storage.put_bytes("acme/file", b"a longer first version")
    await storage.put_bytes("acme/file", b"second")
    assert await storage.get_bytes("acme/file") == b"second"


async def test_list_and_delete_stay_below_their_prefix(storage: Storage) -> None:
    for key in ("acme/runs/1/a", "acme/runs/1/b/c", "acme/runs/12/a", "other/runs/1/a"):
        await storage.put_bytes(key, b"x")
    assert await storage.list("acme/runs/1") == ["acme/runs/1/a", "acme/runs/1/b/c"]
    await storage.delete_prefix("acme/runs/1")
    assert await storage.list("acme") == ["acme/runs/12/a"]
    await storage.delete("acme/runs/12/a")
    await storage.delete("acme/runs/12/a")
    assert await storage.list("") == ["other/runs/1/a"]


async def test_what_is_not_there_is_not_found(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="acme/none"):
        await storage.get_bytes("acme/none")
    with pytest.raises(NotFound, match="acme/none"):
        await storage.size("acme/none")
    with pytest.raises(NotFound, match="acme/none"):
        await together(storage.stream("acme/none"))
    with pytest.raises(NotFound, match="acme/none"):
        await storage.fetch("acme/none", tmp_path / "none")
    assert list(tmp_path.glob("none*")) == []


async def test_a_changed_byte_is_noticed_and_nothing_is_left(storage: Storage, tmp_path: Path) -> None:
    stored = await storage.put_bytes("acme/file", b"as it was written")
    await storage.put_bytes("acme/file", b"as it was wrItten")
    with pytest.raises(Corrupted, match="acme/file"):
        await storage.fetch("acme/file", tmp_path / "copy", sha256=stored.sha256)
    assert list(tmp_path.glob("copy*")) == []


async def test_an_upload_that_breaks_off_leaves_no_object(storage: Storage) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(25):
            yield bytes(MEGABYTE)
        raise ConnectionResetError("the client went away")

    with pytest.raises(ConnectionResetError):
        await storage.put_stream("acme/half", broken())
    assert await storage.list("acme") == []
    with pytest.raises(NotFound):
        await storage.size("acme/half")


@pytest.mark.parametrize("name", ["plain.jsonl", "with space.jsonl", "Gespräche & Ähnliches.jsonl", "50%#1?.jsonl"])
async def test_the_names_people_give_are_kept(storage: Storage, name: str) -> None:
    await storage.put_bytes(f"acme/files/{name}", b"x")
    assert await storage.list("acme") == [f"acme/files/{name}"]
    assert await storage.get_bytes(f"acme/files/{name}") == b"x"


async def test_a_key_cannot_climb_out_of_its_folder(tmp_path: Path) -> None:
    storage = Storage.open(f"file://{tmp_path / 'storage'}")
    with pytest.raises(Exception, match=r"(?i)path"):
        await storage.put_bytes("acme/../../outside", b"x")
    assert not (tmp_path / "outside").exists()


def test_an_address_that_is_neither_folder_nor_s3_is_refused() -> None:
    with pytest.raises(ValueError, match="file:///folder"):
        Storage.open("ftp://somewhere")


FULL = """
import asyncio, os, resource, sys
from pathlib import Path
from libs.storage import Storage, StorageFull

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

async def endless():
    for _ in range(40):
        yield bytes(1_000_000)

async def main():
    source = folder.parent / "source"
    storage = Storage.open(f"file://{folder}")
    await storage.put_bytes("acme/before", b"kept")
    for attempt in (
        lambda: storage.put_bytes("acme/bytes", bytes(5_000_000)),
        lambda: storage.put_stream("acme/stream", endless()),
        lambda: storage.put_file("acme/file", source),
    ):
        try:
            await attempt()
        except StorageFull as full:
            print("full", full.status)
    print(*await storage.list(""), await storage.get_bytes("acme/before"))
    print(sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))

asyncio.run(main())
sys.stdout.flush()
os._exit(0)  # obstore's threads may abort an interpreter that ends while they clean up behind a broken upload
"""


def fill(folder: Path, *, before: str, limit: int) -> list[str]:
    (folder.parent / "source").write_bytes(bytes(5_000_000))
    script = f'{before}exec "$0" -c "$1" "$2" "$3"'
    command = ["sh", "-ec", script, sys.executable, FULL, str(folder), str(limit)]
    if before:
        command = ["unshare", "--mount", "--map-root-user", *command]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


KEPT = ["full 507", "full 507", "full 507", "acme/before b'kept'", "['acme/before']"]


def test_a_file_limit_is_named_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    assert fill(tmp_path / "storage", before="", limit=1_000_000) == KEPT


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    """A file system of two megabytes, where this machine lets an ordinary user mount one for itself."""
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are closed here")
    (tmp_path / "storage").mkdir()
    mount = f"mount -t tmpfs -o size=2m tmpfs '{tmp_path / 'storage'}'; "
    assert fill(tmp_path / "storage", before=mount, limit=0) == KEPT


async def test_a_disk_full_while_fetching_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage.open(f"file://{tmp_path / 'storage'}")
    await storage.put_bytes("acme/file", bytes(3 * MEGABYTE))
    (tmp_path / "copy.partial").symlink_to("/dev/full")
    with pytest.raises(Exception, match="No room is left"):
        await storage.fetch("acme/file", tmp_path / "copy")
    assert list(tmp_path.glob("copy*")) == []
