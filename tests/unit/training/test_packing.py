"""Rows hold whole examples, lose none, and start each at position 0 with nothing taught there."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.trainer.training.data import Example, Row, pack

EXAMPLES = st.lists(st.integers(2, 40), min_size=1, max_size=30)


def _example(size: int, mark: int) -> Example:
    return Example([mark] * size, [-100] + [mark] * (size - 1))


def _lengths(row: Row) -> list[int]:
    starts = [at for at, position in enumerate(row.positions) if position == 0] + [len(row.ids)]
    return [end - start for start, end in pairwise(starts)]


@given(EXAMPLES, st.integers(1, 64))
def test_every_example_is_in_one_row_whole(sizes: list[int], capacity: int) -> None:
    rows = pack([_example(size, mark) for mark, size in enumerate(sizes)], capacity)
    assert sorted(length for row in rows for length in _lengths(row)) == sorted(sizes)
    for row in rows:
        assert len(row.ids) == len(row.labels) == len(row.positions)
        assert len(row.ids) <= capacity or len(_lengths(row)) == 1


@given(EXAMPLES)
def test_no_example_is_taught_its_first_token(sizes: list[int]) -> None:
    for row in pack([Example([1] * size, [1] * size) for size in sizes], 64):
        first = [label for label, position in zip(row.labels, row.positions, strict=True) if position == 0]
        assert set(first) == {-100}


def test_equal_examples_give_equal_rows() -> None:
    examples = [_example(size, mark) for mark, size in enumerate((5, 9, 5, 30, 2))]
    assert pack(examples, 16) == pack(examples, 16)
