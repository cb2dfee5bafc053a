"""Cutting a file that is one JSON array into its elements, whatever stands in it, in bounded memory.

``elements`` says what an element is: it follows brackets and strings through the whole file, one byte after the other.
That is slow. So the file is cut where an element seems to begin, which is where looks the same as between the
first two (``joint``), and what lies between two cuts is read as an array of its own (``within``). That
an element does begin there nobody needs to know beforehand: the first stretch begins with one, and where
a stretch is an array of its own, the next begins with one too. A stretch that is none was cut in the middle of
an element, or the file is broken there; both show when it is read together with what follows it.
"""

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from services.dataset.domain.lines import WHOLE, Record, Stretch
from services.dataset.domain.problems import BadRecord

CHUNK = 1 << 20

LONGEST_JOINT = 1 << 10
"""Bytes within which the second element's first key must end."""

_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+[\[\]{}]', re.DOTALL)
"""From outside a string to just after the next bracket that stands outside strings."""
_MARK = re.compile(rb'[^"\[\]{}]*+["\[\]{}]')
_QUOTED = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[^\s,\[\]{}"]++', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_GAP = re.compile(rb"[ \t\r\n,]*+")
_JOINT = re.compile(rb'[ \t\r\n]*+,[ \t\r\n]*+\{[ \t\r\n]*+"[^"\\]*+"')
_OPEN = frozenset(b"[{")

_whole = msgspec.json.Decoder(list[msgspec.Raw])


def joint(file: BinaryIO, limit: int) -> bytes | None:
    """Return what stands between the elements of an array: from the end of the first to the second's first key.

    ``None`` where the file cannot be cut by it: they are no objects, or it stands within one of them too.
    ``BadRecord`` where they cannot be followed.
    """
    text = _Text(file, WHOLE)
    text.take()
    first = text.value(limit)
    while not (found := _JOINT.match(text.buffer, text.at)):
        if len(text.buffer) - text.at > LONGEST_JOINT or not text.more():
            return None
    mark = b"}" + found.group()
    text.take()
    both = first.data, text.value(limit).data
    is_clear = all(data and data.endswith(b"}") and mark not in data for data in both)
    return mark if is_clear else None


def stretches(file: BinaryIO, size: int, joint: bytes, longest: int) -> Iterator[Stretch]:
    """Cut the rest of an array into stretches of about ``size`` bytes, each up to where an element seems to begin.

    Where none does for ``longest`` bytes, all that is left is one stretch.
    """
    offset, line = file.tell(), 1
    end, breaks, window = offset, 0, b""
    while chunk := file.read(CHUNK):
        window = window[1 - len(joint) :] + chunk
        end += len(chunk)
        breaks += chunk.count(b"\n")
        found = window.rfind(joint) if end - offset >= size else -1
        cut = found + joint.index(b"{")
        if found >= 0 and (begins := end - len(window) + cut) > offset:
            yield Stretch(offset, begins - offset, line)
            left = window.count(b"\n", cut)
            offset, line, breaks = begins, line + breaks - left, left
        elif end - offset > longest:
            end = file.seek(0, io.SEEK_END)
    if end > offset:
        yield Stretch(offset, end - offset, line)


def within(data: bytes, limit: int, part: Stretch, *, opened: bool, closed: bool) -> Iterator[Record]:
    """Yield the elements of a stretch, given its bytes; ``BadRecord`` where it is no array of its own.

    ``opened``: the array's [ stands before it. ``closed``: the ] stands in it.
    """
    body = data if closed else data.rstrip().removesuffix(b",") + b"]"
    try:
        found = _whole.decode(b"[" + body if opened else body)
    except (ValueError, RecursionError):
        found = []
    if not found or any(memoryview(each).nbytes > limit for each in found):
        return (yield from elements(io.BytesIO(body), limit, part, opened=opened))
    line, at = part.line, 0 if opened else body.index(b"[") + 1
    line += body.count(b"\n", 0, at)
    for each in map(bytes, found):
        gap = _GAP.match(body, at)
        assert gap is not None
        line += body.count(b"\n", at, gap.end())
        at = gap.end()
        yield Record(line, each, len(each), part.offset + at)
        line += each.count(b"\n")
        at += len(each)


def elements(file: BinaryIO, limit: int, part: Stretch = WHOLE, *, opened: bool = False) -> Iterator[Record]:
    """Yield the elements of a JSON array, undecoded; never hold much more than ``limit`` bytes of one.

    Brackets and strings are followed, nothing else: an element may still turn out not to
    be JSON. ``BadRecord`` (``broken_array``) where the array itself cannot be followed. What is read
    begins where ``part`` says, ``opened`` with an element and not with the array's [.
    """
    text = _Text(file, part)
    if not opened and text.take() != b"[":
        raise text.broken("The file does not begin with [")
    if text.peek() == b"]" and not opened:
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

    def __init__(self, file: BinaryIO, begins: Stretch) -> None:
        self.file = file
        self.buffer = b""
        self.at = 0
        self.line = begins.line
        self._dropped = begins.offset

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
            if self.at < len(self.buffer) or not self.more():
                return self.buffer[self.at : self.at + 1]

    def take(self) -> bytes:
        """Consume and return the next byte that is not white space."""
        byte = self.peek()
        self.at += len(byte)
        return byte

    def value(self, limit: int) -> Record:
        """Consume one value: an object, an array or a scalar."""
        first = self.peek()
        line, place = self.line, self._dropped + self.at
        if first in (b"{", b"["):
            return self._container(line, place, limit)
        return self._scalar(line, place, limit)

    def _scalar(self, line: int, place: int, limit: int) -> Record:
        while True:
            found = _SCALAR.match(self.buffer, self.at)
            if found and found.end() < len(self.buffer):
                data = found.group()
                self._consume(found.end())
                return Record(line, data, len(data), place)
            if len(self.buffer) - self.at > limit or not self.more():
                raise self.broken("A value is missing, too long or does not end")

    def _container(self, line: int, place: int, limit: int) -> Record:
        depth, scan = 0, self.at
        while True:
            found = _BRACKET.match(self.buffer, scan)
            if found:
                scan = found.end()
                depth += 1 if self.buffer[scan - 1] in _OPEN else -1
                if depth == 0:
                    data = self.buffer[self.at : scan]
                    self._consume(scan)
                    return Record(line, data if len(data) <= limit else None, len(data), place)
            elif len(self.buffer) - self.at > limit:
                return Record(line, None, self._skip(depth, scan), place)
            else:
                scan -= self.at
                if not self.more():
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
            if self.at == start and not self.more():
                raise self.broken("An element that is too long does not end")

    def _consume(self, to: int) -> None:
        self.line += self.buffer.count(b"\n", self.at, to)
        self.at = to

    def more(self) -> bool:
        """Read on; ``False`` at the end of the file."""
        chunk = self.file.read(CHUNK)
        self._dropped += self.at
        self.buffer = self.buffer[self.at :] + chunk
        self.at = 0
        return bool(chunk)
