"""Which bytes of a stored thing a request wants (RFC 9110, sections 13 and 14).

One range is served as 206, several or nonsense as the whole, as the RFC allows.
"""

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Part(NamedTuple):
    """Bytes ``start`` up to but not including ``end``."""

    start: int
    end: int


class Unsatisfiable(ValueError):
    """The range begins behind the end."""


def wanted(header: str, size: int) -> Part | None:
    """Return the part that a ``Range`` header asks for; ``None``: send the whole. Raises ``Unsatisfiable``."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if not match or match[1] == match[2] == "":
        return None
    part = _from_end(int(match[2]), size) if match[1] == "" else _from_start(match[1], match[2], size)
    if part is not None and part.start >= part.end:
        raise Unsatisfiable(header)
    return part


def _from_end(count: int, size: int) -> Part:
    return Part(max(0, size - count), size)


def _from_start(first: str, last: str, size: int) -> Part | None:
    start, end = int(first), int(last) + 1 if last else size
    if last and int(last) < start:
        return None
    return Part(start, min(end, size))


def known_already(if_none_match: str, etag: str) -> bool:
    """Say whether the client holds this very version (weak comparison)."""
    held = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in held or etag in held
