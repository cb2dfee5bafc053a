"""An array that is read in stretches gives what it gives read from end to end: the same elements, or the same fault."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.datasets import SplitPlan
from services.dataset.domain import arrays
from services.dataset.domain.lines import Record, Stretch
from services.dataset.domain.problems import BadRecord, Tally
from services.dataset.importer import reading, workers
from services.dataset.importer.making import Maker, Part
from services.dataset.importer.reading import ARRAY, Layout, recognise
from services.dataset.importer.spec import Spec
from tests.unit.dataset.conftest import Import, lesson, talk

LIMIT = 90
MARK = b"\xef\xbb\xbf"

texts = st.text(st.sampled_from('ab ]}[{",:\\\n\té☃𝄞'), max_size=8) | st.sampled_from(
    ['}, {"a": 1', '"}]', "\\", '},\n{"a"']
)
plain = st.fixed_dictionaries({"a": texts})
nested = st.fixed_dictionaries(
    {"a": st.lists(plain | st.dictionaries(st.sampled_from("ab"), st.integers()), max_size=4)}
)
others = st.dictionaries(st.sampled_from("ba"), texts) | texts | st.none() | st.lists(plain, max_size=3)
arrays_of = st.tuples(
    plain, plain, st.lists(plain | nested, max_size=16) | st.lists(plain | nested | others, max_size=9)
)
written = st.tuples(
    arrays_of.map(lambda drawn: [*drawn[:2], *drawn[2]]),
    st.sampled_from([None, None, 0, 2, "\t"]),
    st.booleans(),
    st.sampled_from([",", " , "]),
).map(lambda drawn: json.dumps(drawn[0], indent=drawn[1], ensure_ascii=drawn[2], separators=(drawn[3], ":")).encode())


class OnlyCuts(Maker):
    """Makes nothing of records."""

    def __init__(self) -> None:
        self.found: list[Record] = []

    def stretch(self, layout: Layout, part: Stretch) -> Part | None:
        try:
            with layout.open(part) as opened:
                return Part(list(opened.records), 0, 0, Tally())  # type: ignore[arg-type]
        except BadRecord:
            return None

    def whole(self, layout: Layout, tally: Tally, part: Stretch) -> Iterator[Part]:
        with layout.open(part) as opened:
            for record in opened.records:
                yield Part([record], 0, 0, Tally())  # type: ignore[list-item]


def told(parts: Iterator[list[Any]]) -> tuple[list[Any], str]:
    """All records, and why there are no more."""
    found: list[Any] = []
    try:
        for some in parts:
            found += some
    except BadRecord as error:
        return found, error.message
    return found, ""


def in_stretches(path: Path, data: bytes) -> tuple[list[Record], str]:
    path.write_bytes(data)
    begins = len(MARK) if data.startswith(MARK) else 0
    with path.open("rb") as file:
        file.seek(begins)
        try:
            joint = arrays.joint(file, LIMIT)
        except BadRecord:
            joint = None
    layout = Layout(str(path), "openai", ARRAY, False, begins, LIMIT, joint)
    spec = Spec(source="", source_sha256="", folder="", model_dir="", split=SplitPlan(), processes=1)
    return told(part.made for part in workers.read(OnlyCuts(), spec, layout, Tally()))


def from_end_to_end(data: bytes) -> tuple[list[Record], str]:
    begins = len(MARK) if data.startswith(MARK) else 0
    return told([each] for each in arrays.elements(io.BytesIO(data[begins:]), LIMIT, Stretch(begins, len(data), 1)))


@pytest.fixture(params=[(7, 20, 4000), (64, 1, 60), (9, 50, 90)])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes read at a time, of a stretch, and until no more is cut, small enough for every case to come."""
    chunk, stretch, longest = request.param
    monkeypatch.setattr(arrays, "CHUNK", chunk)
    monkeypatch.setattr(workers, "STRETCH", stretch)
    monkeypatch.setattr(reading, "LONGEST", longest)


@pytest.mark.usefixtures("small")
def test_stretches_give_the_elements_that_json_sees(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("arrays") / "array.json"

    @given(written, st.booleans())
    @example(b'[{"a":"' + b'},{\\"a\\"' * 9 + b'"},{"a":1},\r\n {"a":[{"a":1},{"a":2},{"a":3}]},{"a":[]}]', False)
    def agree(array: bytes, marked: bool) -> None:
        data = MARK + array if marked else array
        found, fault = in_stretches(path, data)
        assert fault == "" or max(map(len, map(json.dumps, json.loads(array)))) > LIMIT / 3
        assert (found, fault) == from_end_to_end(data)
        if not fault:
            whole = [data[each.at : each.at + each.size] for each in found]
            assert list(map(json.loads, whole)) == json.loads(array)
            assert [each.line for each in found] == [data.count(b"\n", 0, each.at) + 1 for each in found]
            assert all(each.data in (None, text) for each, text in zip(found, whole, strict=True))

    agree()


@pytest.mark.usefixtures("small")
def test_a_fault_is_the_same_and_after_the_same_elements(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("arrays") / "array.json"

    @given(written, st.data())
    def agree(array: bytes, draw: st.DataObject) -> None:
        begins = draw.draw(st.integers(1, len(array) - 1))
        ends = draw.draw(st.sampled_from([begins, begins + 1, begins + 9, len(array)]))
        put = draw.draw(st.sampled_from([b"", b'"', b"{", b"]", b"}", b",", b"\\", b"\xff", b"NaN", b'},{"a":', b" "]))
        data = array[:begins] + put + array[ends:]
        assert in_stretches(path, data) == from_end_to_end(data)

    agree()


def test_only_what_begins_no_object_within_an_element_cuts_an_array() -> None:
    def joint(data: bytes) -> bytes | None:
        return arrays.joint(io.BytesIO(data), 1000)

    assert joint(b'[\n {"id": 1},\n {"id": 2}]') == b'},\n {"id"'
    assert joint(b'[{"a": [{"b": 1}, {"b": 2}]}, {"a": 3}]') == b'}, {"a"'
    assert joint(b'[{"a": [{"a": 1}, {"a": 2}]}, {"a": 3}]') is None
    assert joint(b'[{"a": 1}]') is None
    assert joint(b'[1, {"a": 1}]') is None
    assert joint(b"[[1], [2]]") is None


def odd_array(loose: bool, indent: int | None) -> bytes:
    """Lessons, whole or in segments, among which some are broken, too long, unaligned, double and not trusted."""
    whole = [lesson(number, 20) for number in range(40)]
    whole[7]["segments"][3]["words"] = [{"score": 0.1}] * 12
    whole[30] = whole[12]
    whole[33]["segments"][2]["words"][0]["score"] = float("nan")
    rows: list[Any] = whole
    if loose:
        rows = [segment | {"metadata": one["metadata"]} for one in whole for segment in one["segments"]]
    texts = [json.dumps(each, indent=indent) for each in rows]
    for place in (11, 25):
        texts[place:place] = ['{"broken",}', '{"segments": 7, "text": 7}', json.dumps({"text": "x" * 60_000}), "NaN"]
    return MARK + ("[\n" + ",\n".join(texts) + "\n]\n").encode()


@pytest.mark.parametrize("loose", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_gives_the_same_version_however_it_is_read(
    importing: Import, monkeypatch: pytest.MonkeyPatch, loose: bool, indent: int | None
) -> None:
    monkeypatch.setattr(workers, "STRETCH", 30_000)
    monkeypatch.setattr(arrays, "CHUNK", 5_000)
    data = odd_array(loose, indent)
    given = {"max_lesson_bytes": 50_000, "bad_share": 0.5}
    alone, together = (importing.made(data, processes=processes, **given) for processes in (1, 3))
    version = {path.name: path.read_bytes() for path in importing.version.iterdir() if path.suffix != ".sqlite"}
    monkeypatch.setattr(arrays, "joint", lambda *_: None)
    uncut = importing.made(data, **given)
    assert alone == together == uncut
    assert {path.name: path.read_bytes() for path in importing.version.iterdir() if path.suffix != ".sqlite"} == version
    assert [each.code for each in alone.problems] == ["invalid_json", "wrong_type", "line_too_long", "invalid_json"] * 2


@pytest.mark.parametrize("processes", [1, 3])
def test_a_break_refuses_an_array_as_if_it_were_read_from_end_to_end(
    importing: Import, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(workers, "STRETCH", 2_000)
    monkeypatch.setattr(arrays, "CHUNK", 500)
    rows = [json.dumps(talk(number), indent=1) for number in range(100)]
    rows[3] = '{"messages": }'
    whole = "[\n" + ",\n".join(rows) + "\n]"
    broken = [whole[:-40], whole.replace("What is 60", '"What is 60'), whole.replace("},\n{", "}\n{"), whole + "]"]
    cut = [importing.refused(each.encode(), processes=processes) for each in broken]
    monkeypatch.setattr(arrays, "joint", lambda *_: None)
    assert [importing.refused(each.encode()) for each in broken] == cut
    assert {each.code for each in cut} == {"broken_array"}


def test_a_big_array_is_cut_where_its_elements_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CHUNK", 1_000)
    path = tmp_path / "array.json"
    path.write_text(json.dumps([talk(number) for number in range(200)]))
    layout = recognise(path, "auto", max_record_bytes=8_000, max_lesson_bytes=8_000)
    parts = list(layout.stretches(3_000))
    assert len(parts) > 5
    assert [part.offset + part.size for part in parts] == [*(part.offset for part in parts[1:]), path.stat().st_size]
    assert None not in [OnlyCuts().stretch(layout, part) for part in parts]
