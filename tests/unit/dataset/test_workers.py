"""Several processes read a file as one would: the same examples, the same lines named, and none outlives the import."""

import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.datasets import SplitPlan
from services.dataset.domain import lines as cutting
from services.dataset.domain.lines import Stretch, lines, stretches
from services.dataset.importer import reading, workers
from services.dataset.importer.making import Maker
from services.dataset.importer.reading import Layout, recognise
from services.dataset.importer.spec import Spec
from tests.unit.dataset.conftest import Import, jsonl, lesson, talk


@given(st.lists(st.sampled_from([b"", b" ", b"{}", b"x" * 9, b"y" * 40]), max_size=30), st.integers(1, 60))
def test_stretches_hold_the_lines_of_the_whole_file(rows: list[bytes], size: int) -> None:
    data = b"BOM" + b"\n".join(rows)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cutting, "CHUNK", 7)
        file = io.BytesIO(data)
        file.seek(3)
        parts = list(stretches(file, size))
    whole = io.BytesIO(data)
    whole.seek(3)
    expected = list(lines(whole, 20, Stretch(3, len(data), 1)))
    found = []
    for part in parts:
        file.seek(part.offset)
        found += list(lines(file, 20, part))
    assert found == expected
    assert sum(part.size for part in parts) == len(data) - 3


def odd_file() -> bytes:
    """Lessons among which lines are broken, blank, too long, double, nearly double and not trusted."""
    records = [lesson(number, 20) for number in range(60)]
    records[20]["segments"][3]["words"] = [{"score": 0.1}] * 12
    records[50] = lesson(5, 20, title="Again", lesson_id="again")
    records[50]["segments"][7]["text"] += " Yes."
    records[55] = records[11]
    rows = jsonl(records).splitlines(keepends=True)
    return b"".join([*rows[:8], b"\n", b"{broken\n", *rows[8:30], b'"' + b"x" * 60_000 + b'"\n', *rows[30:]])


def test_many_processes_make_what_one_makes(importing: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STRETCH", 20_000)
    monkeypatch.setattr(cutting, "CHUNK", 5_000)
    alone, together = (
        importing.made(odd_file(), processes=processes, max_lesson_bytes=50_000, bad_share=0.1) for processes in (1, 3)
    )
    assert alone == together
    assert {each.reason: each.lines for each in together.dropped} == {
        "duplicate": (59,),
        "near_duplicate": (54,),
        "segments_not_trusted": (23,),
    }
    assert [(each.line, each.code) for each in together.problems] == [(10, "invalid_json"), (33, "line_too_long")]
    assert importing.progress[-1].examples == 58


def loose_file(named: bool = True) -> bytes:
    """Segments of lessons among which lines are broken, blank, too long and unaligned; without names all are one."""
    whole = [lesson(number, 20) for number in range(40)]
    whole[7]["segments"][3]["words"] = [{"score": 0.1}] * 12
    whole[30] = whole[12]
    rows = [
        msgspec.json.encode(segment | ({"metadata": one["metadata"]} if named else {"speaker": "One"})) + b"\n"
        for one in whole
        for segment in one["segments"]
    ]
    odd = [b"\n", b"{broken\n", b'{"text": 7}\n', b'"' + b"x" * 9_000 + b'"\n']
    for place in (11, 100, 205, 319, 320, 321, 640):
        rows[place:place] = odd
    rows[50] = rows[50].replace(b'"score":0.9', b'"score": NaN')
    return b"\xef\xbb\xbf" + b"".join(rows)


@pytest.mark.parametrize("stretch", [3_000, 12_000, 40_000])
@pytest.mark.parametrize("named", [True, False])
def test_loose_segments_make_the_same_lessons_wherever_their_file_is_cut(
    importing: Import, monkeypatch: pytest.MonkeyPatch, stretch: int, named: bool
) -> None:
    monkeypatch.setattr(workers, "STRETCH", stretch)
    monkeypatch.setattr(cutting, "CHUNK", 1_000)
    monkeypatch.setattr(reading, "LONGEST", 50_000)
    alone, together = (
        importing.made(loose_file(named), processes=processes, max_lesson_bytes=8_000, bad_share=0.1)
        for processes in (1, 3)
    )
    assert alone == together
    assert alone.problem_count == 21


def test_loose_segments_are_cut_where_a_lesson_begins_and_no_more_where_none_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "CHUNK", 1_000)
    monkeypatch.setattr(reading, "LONGEST", 50_000)
    found = {}
    for named in (True, False):
        path = tmp_path / f"{named}.jsonl"
        path.write_bytes(loose_file(named))
        layout = recognise(path, "auto", max_record_bytes=8_000, max_lesson_bytes=8_000)
        found[named] = (layout, list(layout.stretches(12_000)))
    layout, parts = found[True]
    assert len(parts) > 10
    assert not any(map(layout.is_endless, parts))
    assert [part.offset + part.size for part in parts[:-1]] == [part.offset for part in parts[1:]]
    layout, [part] = found[False]
    assert layout.is_endless(part)


def die(self: Maker, layout: Layout, part: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_ends_the_import_so_that_it_is_tried_again(
    importing: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Maker, "stretch", die)
    with pytest.raises(BrokenProcessPool):
        importing(jsonl(talk(number) for number in range(60)), processes=2)


def test_workers_end_with_an_import_that_is_killed(tmp_path: Path, model_dir: Path) -> None:
    source = tmp_path / "mostly-nothing.jsonl"
    source.write_bytes(jsonl([talk(1)]) + b"\n" * (100 << 20))
    spec = Spec(
        source=str(source),
        source_sha256="0" * 64,
        folder=str(tmp_path),
        model_dir=str(model_dir),
        split=SplitPlan(),
        processes=2,
    )
    process = subprocess.Popen([sys.executable, "-m", "services.dataset.importer"], stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(msgspec.json.encode(spec) + b"\n")
    process.stdin.flush()
    children: list[int] = []
    while len(children) < 2:
        assert process.poll() is None
        time.sleep(0.01)
        children = [int(each) for each in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(map(_runs, children)):
        assert time.monotonic() < deadline, "a worker outlived its import"
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
