"""Cutting a text file into records, whatever stands in it, in bounded memory.

A record is a line (JSONL) or an element of the array that the file is (JSON). One that
is longer than allowed is stepped over, and named by its line.
"""

import re
import sys
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from services.dataset.domain.problems import BadRecord

CHUNK = 1 << 20

_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+[\[\]{}]', re.DOTALL)
"""From outside a string to just after the next bracket that stands outside strings."""
_MARK = re.compile(rb'[^"\[\]{}]*+["\[\]{}]')
_QUOTED = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^\s,\[\]{}"]++', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_OPEN = frozenset(b"[{")


class Record(Struct, frozen=True):
    """One record: the line it begins on (1-based), its bytes, its size. ``data`` is None when it is too long."""

    line: int
    data: bytes | None
    size: int


class Stretch(Struct, frozen=True):
    """A stretch of a file that holds whole lines: where it begins, its size in bytes, the number of its first line."""

    offset: int
    size: int
    line: int


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


def lines(file: BinaryIO, limit: int, part: Stretch | None = None) -> Iterator[Record]:
    """Yield every line that is not blank, without its line break; never hold more than ``limit`` bytes of one.

    With ``part`` only those of a stretch, where the file must stand.
    """
    number = part.line - 1 if part else 0
    left = part.size if part else sys.maxsize
    while left > 0 and (data := file.readline(limit + 1)):
        number += 1
        size = len(data)
        if size > limit and not data.endswith(b"\n"):
            size += _skip_line(file)
            yield Record(number, None, size)
        elif not data.isspace():
            yield Record(number, data.removesuffix(b"\n"), size)
        left -= size


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while data := file.readline(CHUNK):
        skipped += len(data)
        if data.endswith(b"\n"):
            break
    return skipped


def elements(file: BinaryIO, limit: int) -> Iterator[Record]:
    """Yield the elements of a JSON array, undecoded; never hold much more than ``limit`` bytes of one.

    Brackets and strings are followed, nothing else: an element may still turn out not to
    be JSON. ``BadRecord`` (``broken_array``) where the array itself cannot be followed.
    """
    text = _Text(file)
    if text.take() != b"[":
        raise text.broken("The file does not begin with [")
    if text.peek() == b"]":
        text.take()
    else:
        yield text.value(limit)
        while (mark := text.take()) == b",":
            yield text.value(limit)
        if mark != b"]":
            raise text.broken("Two elements are not separated by a comma, or the closing ] is missing")
    if text.peek():
        raise text.broken("Something follows the closing ]")


class _Text:
    """A window on the file: ``buffer`` from position ``at`` on is what was not yet consumed."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.buffer = b""
        self.at = 0
        self.line = 1

    def broken(self, what: str) -> BadRecord:
        """Say that the array cannot be followed any further."""
        return BadRecord(
            f"{what} (at line {self.line}); what follows cannot be read.",
            code="broken_array",
            fix="Save the file as one JSON array, or better as JSONL with one record per line.",
        )

    def peek(self) -> bytes:
        """Step over white space and return the next byte, or nothing at the end."""
        while True:
            found = _SPACE.match(self.buffer, self.at)
            assert found is not None
            self._consume(found.end())
            if self.at < len(self.buffer) or not self._more():
                return self.buffer[self.at : self.at + 1]

    def take(self) -> bytes:
        """Consume and return the next byte that is not white space."""
        byte = self.peek()
        self.at += len(byte)
        return byte

    def value(self, limit: int) -> Record:
        """Consume one value: an object, an array or a scalar."""
        first = self.peek()
        line = self.line
        if first in (b"{", b"["):
            return self._container(line, limit)
        return self._scalar(line, limit)

    def _scalar(self, line: int, limit: int) -> Record:
        while True:
            found = _SCALAR.match(self.buffer, self.at)
            if found and found.end() < len(self.buffer):
                data = found.group()
                self._consume(found.end())
                return Record(line, data, len(data))
            if len(self.buffer) - self.at > limit or not self._more():
                raise self.broken("A value is missing, too long or does not end")

    def _container(self, line: int, limit: int) -> Record:
        depth, scan = 0, self.at
        while True:
            found = _BRACKET.match(self.buffer, scan)
            if found:
                scan = found.end()
                depth += 1 if self.buffer[scan - 1] in _OPEN else -1
                if depth == 0:
                    data = self.buffer[self.at : scan]
                    self._consume(scan)
                    return Record(line, data if len(data) <= limit else None, len(data))
            elif len(self.buffer) - self.at > limit:
                return Record(line, None, self._skip(depth, scan))
            else:
                scan -= self.at
                if not self._more():
                    raise self.broken(f"The element that begins on line {line} does not end")

    def _skip(self, depth: int, scan: int) -> int:
        """Step over the rest of a container, from outside a string, and keep none of it. Return its size."""
        size, quoted = scan - self.at, False
        self._consume(scan)
        while True:
            start = self.at
            if quoted:
                found = _QUOTED.match(self.buffer, self.at)
                assert found is not None
                self._consume(found.end())
                if self.buffer[self.at : self.at + 1] == b'"':
                    self.at += 1
                    quoted = False
            elif found := _MARK.match(self.buffer, self.at):
                self._consume(found.end())
                mark = self.buffer[self.at - 1]
                quoted = mark == ord('"')
                depth += 0 if quoted else 1 if mark in _OPEN else -1
            else:
                self._consume(len(self.buffer))
            size += self.at - start
            if depth == 0:
                return size
            if self.at == start and not self._more():
                raise self.broken("An element that is too long does not end")

    def _consume(self, to: int) -> None:
        self.line += self.buffer.count(b"\n", self.at, to)
        self.at = to

    def _more(self) -> bool:
        chunk = self.file.read(CHUNK)
        self.buffer = self.buffer[self.at :] + chunk
        self.at = 0
        return bool(chunk)
