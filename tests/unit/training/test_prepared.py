"""Prepared data is made once, is never taken for another's or a whole one when it is not, and does not pile up."""

import os
from pathlib import Path

import pytest

from libs.lm.models import NEEDED
from services.trainer.training import prepared
from services.trainer.training.data import Example, Split
from services.trainer.training.protocol import Shelf

LENGTH = 128


class Prepare:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Split:
        self.asked += 1
        examples = [Example([1, 2, 70_000], [-100, 2, 70_000]), Example([5, 6], [5, 6], 1)]
        return Split(examples=examples, tokens=5, trained_tokens=4, cut=3, dropped=2)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in NEEDED:
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"How do I save?")
    return path


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(folder=str(tmp_path / "prepared"), most_bytes=10_000)


def entries(shelf: Shelf) -> list[Path]:
    return sorted(Path(shelf.folder).iterdir())


def test_what_was_prepared_once_is_read_the_second_time(shelf: Shelf, data: Path, model: Path) -> None:
    prepare = Prepare()
    first, second = (prepared.through(shelf, data, model, "supervised", LENGTH, prepare) for _ in range(2))
    assert prepare.asked == 1
    assert second == first == Prepare()()
    assert second.fingerprint == first.fingerprint


def test_anything_it_came_from_that_changes_has_it_prepared_anew(shelf: Shelf, data: Path, model: Path) -> None:
    prepare = Prepare()

    def read(objective: str = "supervised", length: int = LENGTH) -> None:
        prepared.through(shelf, data, model, objective, length, prepare)

    read()
    read(objective="dpo")
    read(length=LENGTH + 1)
    for file in (*(model / name for name in NEEDED), data):
        file.write_bytes(file.read_bytes() + b" ")
        read()
    assert prepare.asked == len(entries(shelf)) == 4 + len(NEEDED)


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-1], lambda whole: b"\0" + whole[1:]])
def test_a_damaged_entry_is_prepared_anew_and_mended(shelf: Shelf, data: Path, model: Path, damage) -> None:  # type: ignore[no-untyped-def]
    prepare = Prepare()
    prepared.through(shelf, data, model, "supervised", LENGTH, prepare)
    [entry] = entries(shelf)
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    prepared.through(shelf, data, model, "supervised", LENGTH, prepare)
    assert prepare.asked == 2
    assert entry.read_bytes() == whole


def test_an_entry_says_nothing_to_who_has_not_the_data(shelf: Shelf, data: Path, model: Path) -> None:
    prepared.through(shelf, data, model, "supervised", LENGTH, Prepare())
    [entry] = entries(shelf)
    other = data.with_name("other.parquet")
    other.write_bytes(b"How do I spend?")
    assert prepared._opened(entry, prepared._key(data, model, f"supervised {LENGTH}"))
    assert prepared._opened(entry, prepared._key(other, model, f"supervised {LENGTH}")) is None


def test_those_unused_for_longest_make_room(shelf: Shelf, data: Path, model: Path) -> None:
    def read(length: int) -> None:
        prepared.through(Shelf(folder=shelf.folder, most_bytes=most), data, model, "supervised", length, Prepare())

    most = 10_000
    read(1)
    [entry] = entries(shelf)
    most = 2 * entry.stat().st_size
    read(2)
    for age, each in enumerate(entries(shelf)):
        os.utime(each, (age, age) if each != entry else (100, 100))
    read(3)
    assert len(entries(shelf)) == 2
    assert entry in entries(shelf)
    most = 10
    read(4)
    assert len(entries(shelf)) == 2, "what is too large for the shelf is not put there"


def test_without_room_on_the_disk_training_goes_on(data: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    nowhere = Shelf(folder=str(tmp_path / "file" / "prepared"), most_bytes=10_000)
    assert prepared.through(nowhere, data, model, "supervised", LENGTH, Prepare()) == Prepare()()
