"""Which models stay in memory when there is room for three."""

import pytest

from services.evaluator.domain.keeping import Full, Shelf


class Memory:
    """A shelf whose things are their own keys in capitals, and what was made and dropped."""

    def __init__(self) -> None:
        self.shelf: Shelf[str, str] = Shelf(3)
        self.made: list[str] = []
        self.dropped: list[str] = []

    def ask(self, key: str, *speaking: str) -> str:
        return self.shelf.get(key, lambda: self._make(key), lambda key, _: self.dropped.append(key), speaking)

    def _make(self, key: str) -> str:
        self.made.append(key)
        return key.upper()


def test_what_is_there_is_not_made_again() -> None:
    memory = Memory()
    assert [memory.ask("a"), memory.ask("a")] == ["A", "A"]
    assert memory.made == ["a"]


def test_the_one_not_asked_for_longest_makes_room() -> None:
    memory = Memory()
    for key in ("a", "b", "c", "a", "d"):
        memory.ask(key)
    assert memory.dropped == ["b"]
    assert memory.shelf.kept == ("c", "a", "d")


def test_what_speaks_is_never_dropped() -> None:
    memory = Memory()
    for key in ("a", "b", "c"):
        memory.ask(key)
    memory.ask("d", "a", "b")
    assert memory.dropped == ["c"]


def test_where_all_speak_another_has_to_wait_but_they_are_found() -> None:
    memory = Memory()
    for key in ("a", "b", "c"):
        memory.ask(key)
    with pytest.raises(Full):
        memory.ask("d", "a", "b", "c")
    assert (memory.ask("a", "a", "b", "c"), memory.dropped) == ("A", [])


def test_what_could_not_be_made_is_not_kept() -> None:
    def fail() -> str:
        raise ValueError

    memory = Memory()
    with pytest.raises(ValueError):
        memory.shelf.get("a", fail, lambda *_: None, ())
    assert memory.shelf.kept == ()
