"""No regular expression of ours can be made to search for ever by what somebody sends."""

import ast
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LENGTH = 1500
SECONDS = 3.0
"""Of this process alone: what is linear takes a thousandth of it, and what doubles with each character never ends."""
PIECES = ("a", "a@", "a.", "-", " ", "\n", "0", "0:", "wsk-", "ft:", "<", "&", "/", "..", '"', "a=", "é", "'a", "**")


def patterns() -> list[tuple[str, str]]:
    """Return where each literal pattern stands, and the pattern."""
    found = []
    for path in sorted(each for top in ("services", "libs", "contracts") for each in (ROOT / top).rglob("*.py")):
        found += [(f"{path.relative_to(ROOT)}:{line}", text) for line, text in _of(ast.parse(path.read_text()))]
    return found


def _of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given: list[Any] = [each.value for each in node.keywords if each.arg == "pattern"]
        if isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "re":
            given += node.args[:1]
        for value in given:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield node.lineno, value.value


def _too_long(*_: object) -> None:
    raise TimeoutError


@pytest.fixture
def _patience() -> Iterator[None]:
    before = signal.signal(signal.SIGVTALRM, _too_long)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def endless(pattern: str) -> list[str]:
    """Return the pieces whose repetition keeps a pattern busy too long."""
    compiled, found = re.compile(pattern), []
    for piece in PIECES:
        text = piece * (LENGTH // len(piece))
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            for each in (text, f"{text}!", f"!{text}\0"):
                compiled.search(each)
                compiled.fullmatch(each)
        except TimeoutError:
            found.append(piece)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return found


@pytest.mark.usefixtures("_patience")
def test_no_pattern_of_ours_can_be_made_to_search_for_ever() -> None:
    assert len(patterns()) > 30
    assert {where: pieces for where, pattern in patterns() if (pieces := endless(pattern))} == {}


@pytest.mark.usefixtures("_patience")
def test_one_that_can_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SECONDS", 0.05)
    assert "a" in endless(r"(a+)+$")
