"""What is amiss, in one shape for all invariants."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct


class Offence(Struct, frozen=True):
    """Something amiss: ``who`` is an id a person can look up, ``what`` says it in a few words.

    ``harmless`` offences are listed, and break nothing.
    """

    who: str
    what: str
    harmless: bool = False


def grouped(things: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Put things under their key, in their order."""
    found: defaultdict[Any, list[Any]] = defaultdict(list)
    for thing in things:
        found[key(thing)].append(thing)
    return found
