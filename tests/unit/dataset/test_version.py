"""A version is what its file, plan and program make of it: the same bytes every time, and never a leak."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from contracts.datasets import SplitPlan
from services.dataset.domain.versions import Imported, Manifest, Refused, digest
from services.dataset.importer import leaks, parquet, spool
from services.dataset.importer.parquet import SplitWriter
from services.dataset.importer.spec import Progress, Said, Spec
from services.dataset.importer.spool import Row
from tests.unit.dataset.conftest import Import, jsonl, lesson, talk

LIBRARY = jsonl(lesson(number) for number in range(40))


def rows(importing: Import) -> dict[str, list[Row]]:
    """What stands in the splits of the version made last."""
    return {
        split: list(parquet.read(importing.version / f"{split}.parquet")) for split in ("train", "validation", "test")
    }


def manifest(importing: Import) -> Manifest:
    return msgspec.json.decode((importing.version / "manifest.json").read_bytes(), type=Manifest)


def test_the_manifest_lists_what_lies_there_and_names_the_version(importing: Import) -> None:
    made = importing.made(jsonl(talk(number) for number in range(100)))
    assert digest((importing.version / "manifest.json").read_bytes()) == made.digest
    listed = {file.name: file.examples for file in manifest(importing).files}
    assert listed == {"train.parquet": 80, "validation.parquet": 10, "test.parquet": 10}
    assert {split: len(found) for split, found in rows(importing).items()} == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }


def test_the_same_file_makes_the_same_bytes(importing: Import) -> None:
    first, second = importing.made(LIBRARY), importing.made(LIBRARY)
    assert first.digest == second.digest
    assert importing.made(LIBRARY, split=SplitPlan(seed=7)).digest != first.digest


def test_which_split_a_conversation_is_in_does_not_depend_on_its_place_in_the_file(importing: Import) -> None:
    talks = [talk(number) for number in range(60)]
    found = []
    for records in (talks, talks[::-1]):
        importing.made(jsonl(records))
        found.append({split: {row.id for row in kept} for split, kept in rows(importing).items()})
    assert found[0] == found[1]


def test_exact_duplicates_are_dropped_and_their_lines_named(importing: Import) -> None:
    spaced = talk(3)
    spaced["messages"][0]["content"] = "  What is 3  + 1?\n"
    made = importing.made(jsonl([*(talk(number) for number in range(50)), talk(3), spaced, talk(4)]))
    assert [(each.reason, each.count, each.lines) for each in made.dropped] == [("duplicate", 3, (51, 52, 53))]
    assert made.train_examples + made.validation_examples + made.test_examples == 50


def test_an_array_a_document_and_lines_of_the_same_lessons_are_the_same_examples(importing: Import) -> None:
    lessons = [lesson(number) for number in range(12)]
    found = []
    for data in (jsonl(lessons), json.dumps(lessons, indent=2).encode()):
        assert importing.made(data).format == "whisperx"
        found.append({split: {row.id for row in kept} for split, kept in rows(importing).items()})
    assert found[0] == found[1]


def test_lessons_are_not_torn_apart_where_there_are_enough(importing: Import) -> None:
    importing.made(jsonl(lesson(number, segments=200) for number in range(12)))
    lessons = [{row.source.split(",")[0] for row in kept} for kept in rows(importing).values()]
    assert sum(len(each) for each in lessons) == len(set.union(*lessons)) == 12
    assert manifest(importing).unit == "lesson"


def test_one_long_lesson_is_divided_by_conversation(importing: Import) -> None:
    document = json.dumps(lesson(1, segments=900), indent=1).encode()
    made = importing.made(document)
    assert (made.format, manifest(importing).unit) == ("whisperx", "conversation")
    assert min(made.train_examples, made.validation_examples, made.test_examples) >= 1


def test_loose_segments_are_gathered_into_their_lessons(importing: Import) -> None:
    whole = [lesson(number) for number in range(12)]
    loose = [{**segment, "metadata": one["metadata"]} for one in whole for segment in one["segments"]]
    importing.made(jsonl(loose))
    ids = {row.id for kept in rows(importing).values() for row in kept}
    importing.made(jsonl(whole))
    assert ids == {row.id for kept in rows(importing).values() for row in kept}


def test_words_whisperx_could_not_align_may_be_nan(importing: Import) -> None:
    data = LIBRARY.replace(b'"score":0.9', b'"score": NaN', 5)
    assert importing.made(data).problems == ()


def test_segments_nobody_can_trust_are_dropped_and_counted(importing: Import) -> None:
    mixed = [lesson(number) for number in range(12)]
    for segment in mixed[4]["segments"][:7]:
        for word in segment["words"]:
            word["score"] = 0.31
    made = importing.made(jsonl(mixed))
    assert [(each.reason, each.count, each.lines) for each in made.dropped] == [("segments_not_trusted", 7, (5,))]


def test_speakers_held_out_never_train(importing: Import) -> None:
    importing.made(LIBRARY, split=SplitPlan(by="speaker"))
    speakers = [{row.speaker for row in kept} for kept in rows(importing).values()]
    assert sum(len(each) for each in speakers) == len(set.union(*speakers)) == 5


def test_a_validation_file_may_have_another_format_and_is_all_held_out(importing: Import) -> None:
    pairs = jsonl({"prompt": f"Say {n}", "completion": f"{n}!"} for n in range(8))
    made = importing.made(jsonl(talk(number) for number in range(30)), validation=pairs)
    assert (made.train_examples, made.validation_examples, made.test_examples) == (30, 4, 4)
    made = importing.made(LIBRARY, validation=pairs, split=SplitPlan(test=0))
    assert (made.train_examples, made.validation_examples, made.test_examples) == (40, 8, 0)


def test_speakers_of_a_validation_file_do_not_train(importing: Import) -> None:
    held_out = jsonl(lesson(number, title=f"Other {number}") for number in (100, 101, 105))
    made = importing.made(LIBRARY, validation=held_out, split=SplitPlan(by="speaker"))
    assert {row.speaker for row in rows(importing)["train"]} == {"Teacher 2", "Teacher 3", "Teacher 4"}
    assert [(each.reason, each.count) for each in made.dropped] == [("speaker_held_out", 16)]


def test_tokens_are_counted_as_training_sees_them(importing: Import) -> None:
    made = importing.made(jsonl(talk(number) for number in range(100, 200)), split=SplitPlan(validation=0, test=0))
    asked, answered = "What is 100 + 1?", "It is 101."
    scaffold = len("user\n") + len("\nassistant\n") + len("\n") + 4
    assert made.train_tokens == 100 * (len(asked) + len(answered) + scaffold)
    assert made.trained_tokens == 100 * (len(answered) + 1)


def write(path: Path, *found: Row) -> Path:
    writer = SplitWriter(path)
    for row in found:
        writer.add(row)
    writer.close()
    return path


def row(text: str, speaker: str = "") -> Row:
    return Row("id", json.dumps([{"role": "user", "content": text}]), speaker, "line 1")


@pytest.mark.parametrize(
    ("by", "planted"), [("conversation", row("Hello  there")), ("speaker", row("Something else", "Kaz"))]
)
def test_a_planted_leak_is_caught(tmp_path: Path, by: str, planted: Row) -> None:
    train = write(tmp_path / "train", row("Hello there", "Kaz"), row("More", "Kaz"))
    files = {
        "train": train,
        "validation": write(tmp_path / "v", row("Fine", "Mo")),
        "test": write(tmp_path / "t", planted),
    }
    with pytest.raises(leaks.Leak, match="test split shares"):
        leaks.check(files, by)
    leaks.check(files | {"test": write(tmp_path / "clean", row("Clean", "Rufus"))}, by)


def test_a_division_that_leaks_never_becomes_a_version(importing: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is planted: speakers are to be held out, and conversations are divided singly."""
    monkeypatch.setitem(spool.NAME_OF, "speaker", spool.NAME_OF["conversation"])
    with pytest.raises(leaks.Leak):
        importing(LIBRARY, split=SplitPlan(by="speaker"))
    assert not (importing.version / "manifest.json").exists()


@pytest.mark.parametrize("name", ["examples.jsonl", "train.parquet", "validation.parquet"])
def test_a_full_disk_is_told_as_such(importing: Import, name: str) -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does."""
    refused = importing.refused(LIBRARY, prepare=lambda version: (version / name).symlink_to("/dev/full"))
    assert refused.code == "disk_full"
    assert "Nothing was lost" in refused.message


def test_progress_ends_where_the_file_does(importing: Import) -> None:
    importing.made(LIBRARY)
    stages = [said.stage for said in importing.progress]
    assert stages[0] == "reading"
    assert all(0 < said.done_bytes <= said.total_bytes == len(LIBRARY) for said in importing.progress)


def in_processes(source: Path, folder: Path, model_dir: Path) -> tuple[Imported | Refused, list[int]]:
    """Import as the service does, with two workers; return the outcome and peak memory of importer and worker."""
    folder.mkdir()
    spec = Spec(
        source=str(source),
        source_sha256="0" * 64,
        folder=str(folder),
        model_dir=str(model_dir),
        split=SplitPlan(),
        processes=2,
    )
    program = (
        "import atexit, resource, sys\n"
        "whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN\n"
        "atexit.register(lambda: print(*(resource.getrusage(each).ru_maxrss for each in whose), file=sys.stderr))\n"
        "from services.dataset.importer.__main__ import main\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(msgspec.json.encode(spec) + b"\n")
    process.stdin.flush()
    said = [msgspec.json.decode(line, type=Said) for line in process.stdout]
    peaks = [int(peak) for peak in process.stderr.read().split()[-2:]]
    process.stdin.close()
    assert process.wait(30) == 0
    assert not isinstance(said[-1], Progress)
    return said[-1], peaks


def test_memory_stays_flat_for_a_file_ten_times_larger(tmp_path: Path, model_dir: Path) -> None:
    peaks = []
    for times in (1, 10):
        source = tmp_path / f"lessons-{times}.jsonl"
        with source.open("wb") as file:
            for number in range(300 * times):
                file.write(msgspec.json.encode(lesson(number)) + b"\n")
        outcome, peak = in_processes(source, tmp_path / f"version-{times}", model_dir)
        assert isinstance(outcome, Imported)
        assert outcome.train_examples + outcome.validation_examples + outcome.test_examples == 300 * times
        peaks.append(peak)
    assert source.stat().st_size > 60 << 20
    assert all(large < small * 1.15 for small, large in zip(*peaks, strict=True))


def test_the_import_process_ends_with_its_parent(tmp_path: Path, model_dir: Path) -> None:
    pipe = tmp_path / "never-written"
    subprocess.run(["mkfifo", pipe], check=True)
    spec = Spec(
        source=str(pipe), source_sha256="0" * 64, folder=str(tmp_path), model_dir=str(model_dir), split=SplitPlan()
    )
    process = subprocess.Popen([sys.executable, "-m", "services.dataset.importer"], stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(msgspec.json.encode(spec) + b"\n")
    process.stdin.close()
    assert process.wait(30) == 1
