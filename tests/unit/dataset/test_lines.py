"""Cutting a file into records: nothing in it may fill memory, stop the reading or shift a line number."""

import contextlib
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dataset.domain.arrays import elements
from services.dataset.domain.lines import lines
from services.dataset.domain.problems import BadRecord

LIMIT = 1 << 16

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Trickle(io.BytesIO):
    """A file that gives a few bytes at a time, so that every boundary falls between two reads once."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self.step = step

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.step)


class Endless(io.RawIOBase):
    """A file of ``size`` bytes that exists only while it is read."""

    def __init__(self, before: bytes, filler: bytes, size: int, after: bytes) -> None:
        self.parts = [before, filler, after]
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        before, filler, after = self.parts
        if before:
            chunk, self.parts[0] = before[: len(buffer)], before[len(buffer) :]
        elif self.left:
            chunk = (filler * (len(buffer) // len(filler) + 1))[: min(len(buffer), self.left)]
            self.left -= len(chunk)
        else:
            chunk, self.parts[2] = after[: len(buffer)], after[len(buffer) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)


@given(st.lists(values, max_size=6), st.sampled_from([None, 1, "\t"]), st.booleans(), st.integers(1, 40))
def test_the_elements_of_an_array_are_those_json_sees(
    array: list[Any], indent: int | str | None, ascii_only: bool, step: int
) -> None:
    data = json.dumps(array, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = list(elements(Trickle(data, step), LIMIT))
    assert [json.loads(record.data or b"", strict=False) for record in found] == array


@given(st.lists(values.map(lambda value: {"x": value}), min_size=1, max_size=5))
def test_an_element_is_named_by_the_line_it_begins_on(array: list[Any]) -> None:
    data = ("[\n" + ",\n".join(json.dumps(value) for value in array) + "\n]").encode()
    assert [record.line for record in elements(io.BytesIO(data), LIMIT)] == list(range(2, len(array) + 2))


@given(st.binary(max_size=60).map(lambda tail: b"[" + tail), st.integers(1, 5))
def test_whatever_follows_the_bracket_is_read_or_refused_and_what_json_reads_is_read(data: bytes, step: int) -> None:
    try:
        expected = len(json.loads(data))
    except (ValueError, RecursionError):
        with contextlib.suppress(BadRecord):
            list(elements(Trickle(data, step), LIMIT))
    else:
        assert len(list(elements(Trickle(data, step), LIMIT))) == expected


@pytest.mark.parametrize(
    "data",
    [b"[{}", b"[{},", b"[{},]", b'[{"a": "b]', b"[{} {}]", b"[,]", b"[{}] x", b"[1, 2", b'["a', b"[{}}]", b"{}", b"["],
)
def test_an_array_that_cannot_be_followed_is_refused(data: bytes) -> None:
    with pytest.raises(BadRecord) as caught:
        list(elements(io.BytesIO(data), LIMIT))
    assert caught.value.code == "broken_array"
    assert caught.value.fix


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100_000])
def test_an_element_that_is_too_long_is_stepped_over(step: int) -> None:
    long = {"text": 'a "quoted" \\ {[ ' * 400, "deep": [[{"x": "]"}]]}
    data = json.dumps([{"id": 1}, long, {"id": 2}], indent=1).encode()
    found = list(elements(Trickle(data, step), 1_000))
    assert [record.data is None for record in found] == [False, True, False]
    assert found[1].size == len(json.dumps([long], indent=1).encode()) - 5
    assert json.loads(found[2].data or b"") == {"id": 2}
    assert found[2].line == data[: data.rindex(b"{")].count(b"\n") + 1


def test_a_line_of_two_gigabytes_is_stepped_over_without_being_held() -> None:
    size = 2 << 30
    file = io.BufferedReader(Endless(b'{"id": 1}\n{"text": "', b"na " * 1000, size, b'"}\n{"id": 3}\n'), 1 << 20)
    before, long, after = lines(file, 8 << 20)
    assert (before.line, before.data) == (1, b'{"id": 1}')
    assert (long.line, long.data) == (2, None)
    assert long.size == size + len(b'{"text": ""}\n')
    assert (after.line, after.data) == (3, b'{"id": 3}')


def test_an_element_of_a_quarter_gigabyte_is_stepped_over_without_being_held() -> None:
    size = 256 << 20
    file = io.BufferedReader(Endless(b'[{"id": 1},\n{"text": "', b"na ", size, b'"},\n{"id": 3}]'), 1 << 20)
    found = list(elements(file, 8 << 20))
    assert [(each.line, each.data is None) for each in found] == [(1, False), (2, True), (3, False)]


def test_blank_lines_count_and_are_no_records() -> None:
    found = list(lines(io.BytesIO(b'\n{"a": 1}\r\n\n  \n{"b": 2}'), LIMIT))
    assert [(record.line, record.data) for record in found] == [(2, b'{"a": 1}\r'), (5, b'{"b": 2}')]


def test_a_line_of_exactly_the_limit_is_read() -> None:
    limit = 100
    data = b"x" * limit + b"\n" + b"y" * (limit + 1) + b"\n"
    assert [record.data is None for record in lines(io.BytesIO(data), limit)] == [False, True]
