"""Cutting a file of lines into records, whatever stands in it, in bounded memory.

A line that is longer than allowed is stepped over, and named by its number. Files that are one array: ``arrays``.
"""

import sys
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

CHUNK = 1 << 20


class Record(Struct, frozen=True):
    """One record: the line it begins on (1-based), its bytes, its size, the byte of the file that it begins at.

    ``data`` is None when it is too long.
    """

    line: int
    data: bytes | None
    size: int
    at: int


class Stretch(Struct, frozen=True):
    """A stretch of whole records: where in the file it begins, its size in bytes, the number of its first line."""

    offset: int
    size: int
    line: int

    def joined(self, following: "Stretch") -> "Stretch":
        """Return this stretch and the one that follows it as one."""
        return Stretch(self.offset, self.size + following.size, self.line)

    def endless(self) -> "Stretch":
        """Return this stretch and all that follows it."""
        return Stretch(self.offset, sys.maxsize, self.line)


WHOLE = Stretch(0, sys.maxsize, 1)
"""All there is."""


def stretches(file: BinaryIO, size: int) -> Iterator[Stretch]:
    """Cut the rest of a file at line ends into stretches of about ``size`` bytes, longer where a line is."""
    offset, line = file.tell(), 1
    end, breaks = offset, 0
    while chunk := file.read(CHUNK):
        last = end + chunk.rfind(b"\n") + 1
        breaks += chunk.count(b"\n")
        if last > end and last - offset >= size:
            yield Stretch(offset, last - offset, line)
            offset, line, breaks = last, line + breaks, 0
        end += len(chunk)
    if end > offset:
        yield Stretch(offset, end - offset, line)


def lines(file: BinaryIO, limit: int, part: Stretch = WHOLE) -> Iterator[Record]:
    """Yield every line that is not blank, without its line break; never hold more than ``limit`` bytes of one.

    With ``part`` only those of a stretch, where the file must stand.
    """
    number, at = part.line - 1, part.offset
    while at - part.offset < part.size and (data := file.readline(limit + 1)):
        number += 1
        size = len(data)
        if size > limit and not data.endswith(b"\n"):
            size += _skip_line(file)
            yield Record(number, None, size, at)
        elif not data.isspace():
            yield Record(number, data.removesuffix(b"\n"), size, at)
        at += size


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while data := file.readline(CHUNK):
        skipped += len(data)
        if data.endswith(b"\n"):
            break
    return skipped
