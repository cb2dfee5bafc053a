"""From a wish to a version on storage, or to a refusal that says how to mend the file."""

import hashlib
import io
import zipfile
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from contracts.datasets import (
    DatasetPreview,
    DatasetProgressed,
    DatasetReady,
    DatasetRefused,
    PreviewDataset,
    SplitPlan,
)
from contracts.files import FileDeleted
from libs.errors import Conflict, NotFound
from libs.samples import PREFERENCES
from services.dataset import queries
from tests.integration.dataset.conftest import AT, SAMPLES, Desk

CONVERSATIONS = (SAMPLES / "conversations.jsonl").read_bytes()
LESSONS = b"\n".join(
    msgspec.json.encode(msgspec.json.decode(path.read_bytes())) for path in sorted((SAMPLES / "lessons").glob("*.json"))
)


async def test_the_sample_conversations_become_a_version(desk: Desk, tmp_path: Path) -> None:
    asked = await desk.ask(CONVERSATIONS)
    async with desk.open():
        (ready,) = await desk.world.told(DatasetReady)
        assert await desk.world.told(DatasetProgressed)
    assert (ready.dataset_id, ready.format, ready.problem_count) == (asked.dataset_id, "openai", 0)
    examples = CONVERSATIONS.count(b"\n")
    assert ready.train_examples + ready.validation_examples + ready.test_examples == examples
    assert 0 < ready.trained_tokens < ready.train_tokens
    storage = desk.platform.storage
    manifest = await storage.get_bytes(f"{ready.uri}/manifest.json")
    assert hashlib.sha256(manifest).hexdigest() == ready.digest
    assert ready.uri == f"acme/datasets/{ready.digest}"
    for file in msgspec.json.decode(manifest)["files"]:
        path = await storage.fetch(f"{ready.uri}/{file['name']}", tmp_path / file["name"], file["sha256"])
        assert pq.read_metadata(path).num_rows == file["examples"]


async def test_the_same_file_has_the_same_digest_however_often_it_is_imported(desk: Desk) -> None:
    for _ in range(2):
        await desk.ask(CONVERSATIONS)
    await desk.ask(CONVERSATIONS, split=SplitPlan(seed=43))
    async with desk.open():
        first, second, other = await desk.world.told(DatasetReady, count=3)
    assert first.digest == second.digest != other.digest


async def test_what_is_nearly_the_same_is_left_out_and_named_unless_the_wish_says_keep(desk: Desk) -> None:
    lines = CONVERSATIONS.splitlines(keepends=True)
    again = lines[40].replace(b". ", b", I would say. ", 1)
    assert again != lines[40]
    data = b"".join([*lines, again])
    dropping = await desk.ask(data)
    keeping = await desk.ask(data, split=SplitPlan(near_duplicates="keep"))
    async with desk.open():
        ready = {each.dataset_id: each for each in await desk.world.told(DatasetReady, count=2)}
    (left,) = ready[dropping.dataset_id].dropped
    assert (left.reason, left.count) == ("near_duplicate", 1)
    assert [(each.line, each.resembles) for each in left.resembling] == [(len(lines) + 1, 41)]
    assert 0.85 <= left.resembling[0].similarity < 1
    kept = ready[keeping.dataset_id]
    assert kept.dropped == ()
    assert kept.train_examples + kept.validation_examples + kept.test_examples == len(lines) + 1


async def test_lessons_held_out_by_instructor_share_no_instructor_between_splits(desk: Desk, tmp_path: Path) -> None:
    await desk.ask(LESSONS, split=SplitPlan(by="speaker"))
    async with desk.open():
        (ready,) = await desk.world.told(DatasetReady)
    assert ready.format == "whisperx"
    heard = []
    for split in ("train", "validation", "test"):
        path = await desk.platform.storage.fetch(f"{ready.uri}/{split}.parquet", tmp_path / split)
        heard.append(set(pq.read_table(path)["speaker"].to_pylist()))
    assert sum(len(speakers) for speakers in heard) == len(set.union(*heard)) == 5


async def test_a_validation_file_is_held_out_whole_and_what_stands_in_both_does_not_train(desk: Desk) -> None:
    lines = CONVERSATIONS.splitlines(keepends=True)
    await desk.ask(b"".join(lines[:60]), validation=b"".join(lines[50:60]))
    async with desk.open():
        (ready,) = await desk.world.told(DatasetReady)
    assert (ready.train_examples, ready.validation_examples, ready.test_examples) == (50, 5, 5)
    assert [(each.reason, each.count, each.lines[0]) for each in ready.dropped] == [("also_in_validation_file", 10, 51)]


async def test_a_preview_shows_the_first_training_examples_with_trained_tokens_marked(desk: Desk) -> None:
    await desk.ask(CONVERSATIONS)
    gateway = await desk.world.platform("gateway")
    async with desk.open():
        (ready,) = await desk.world.told(DatasetReady)
        question = PreviewDataset(tenant="acme", dataset_id=ready.dataset_id)
        shown = await gateway.bus.ask(question, DatasetPreview, timeout=60)
        with pytest.raises(NotFound):
            await gateway.bus.ask(
                PreviewDataset(tenant="other", dataset_id=ready.dataset_id), DatasetPreview, timeout=10
            )
    assert len(shown.examples) == 3
    for example in shown.examples:
        assert 0 < example.trained_tokens < example.tokens
        assert [piece.trained for piece in example.pieces[:2]] == [False, True]
        assert example.pieces[1].text.endswith("<|im_end|>")


async def test_a_preview_of_pairs_shows_both_replies_and_teaches_only_them(desk: Desk) -> None:
    await desk.ask(PREFERENCES.read_bytes())
    gateway = await desk.world.platform("gateway")
    async with desk.open():
        (ready,) = await desk.world.told(DatasetReady)
        question = PreviewDataset(tenant="acme", dataset_id=ready.dataset_id)
        shown = await gateway.bus.ask(question, DatasetPreview, timeout=60)
    assert (ready.format, ready.problem_count) == ("openai_preference", 0)
    for example in shown.examples:
        preferred, rejected = ([each for each in side if each.trained] for side in (example.pieces, example.rejected))
        assert [len(preferred), len(rejected)] == [1, 1]
        assert preferred[0].text != rejected[0].text
        assert example.pieces[0].text == example.rejected[0].text


async def test_a_file_with_a_few_bad_lines_is_imported_and_they_are_named(desk: Desk) -> None:
    lines = CONVERSATIONS.splitlines()
    lines[6] = lines[6][:-5]
    await desk.ask(b"\n".join(lines))
    async with desk.open():
        (ready,) = await desk.world.told(DatasetReady)
    assert [(each.line, each.code, each.severity) for each in ready.problems] == [(7, "invalid_json", "error")]


async def test_refusals_say_what_to_do_and_the_service_goes_on(desk: Desk) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("chats.jsonl", CONVERSATIONS)
    wishes = {
        (await desk.ask(packed.getvalue())).dataset_id: "is_archive",
        (await desk.ask(CONVERSATIONS, base_model="GPT-9")).dataset_id: "unknown_model",
        (await desk.ask(CONVERSATIONS, sha256="0" * 64)).dataset_id: "corrupted",
        (await desk.ask(CONVERSATIONS, uri="acme/files/file-gone/x.jsonl")).dataset_id: "file_gone",
        (await desk.ask(b'{"messages": []}\n' * 3)).dataset_id: "empty_messages",
    }
    good = await desk.ask(CONVERSATIONS)
    async with desk.open():
        refused = await desk.world.told(DatasetRefused, count=len(wishes))
        (ready,) = await desk.world.told(DatasetReady)
    assert ready.dataset_id == good.dataset_id
    assert {each.dataset_id: each.code for each in refused} == wishes
    assert all(len(each.message) > 40 for each in refused)


async def test_previews_of_what_is_not_ready_say_why(desk: Desk) -> None:
    asked = await desk.ask(b"no json\n" * 3)
    gateway = await desk.world.platform("gateway")
    async with desk.open():
        await desk.world.told(DatasetRefused)
        with pytest.raises(Conflict, match="refused"):
            await gateway.bus.ask(
                PreviewDataset(tenant="acme", dataset_id=asked.dataset_id), DatasetPreview, timeout=10
            )


async def test_a_deleted_file_marks_its_datasets(desk: Desk) -> None:
    asked = await desk.ask(CONVERSATIONS)
    async with desk.open():
        await desk.world.told(DatasetReady)
        await desk.world.tell(FileDeleted(tenant="acme", at=AT, file_id=asked.file_id))
        later = await desk.ask(b"not json")
        await desk.world.told(DatasetRefused)
    async with desk.platform.db.transaction("acme") as tx:
        marks = await tx.fetch("SELECT dataset_id, source_deleted_at FROM dataset.dataset")
        ready = await queries.standing(tx, asked.dataset_id)
    assert {row["dataset_id"]: row["source_deleted_at"] for row in marks} == {
        asked.dataset_id: AT,
        later.dataset_id: None,
    }
    assert ready is not None
    assert ready.state == "ready"
