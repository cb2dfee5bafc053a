"""From the bytes of a file to examples, one record at a time."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
from msgspec import Struct

from libs.errors import Rejected
from services.dataset.domain import arrays, formats, lessons
from services.dataset.domain.examples import Example
from services.dataset.domain.lines import WHOLE, Record, Stretch, lines, stretches
from services.dataset.domain.problems import BadRecord, Tally

ARRAY, DOCUMENT, LINES = "array", "document", "lines"
"""How records lie in a file: as the elements of one JSON array, as one indented document, one in each line."""

BUFFER = 1 << 20
"""Bytes read at a time: a lesson is one line of some 500 KB."""

LONGEST = 16 << 20
"""Bytes that may pass without a lesson's end, or an array's next element, before no more cuts are looked for."""

SAMPLED = 50
"""Records that are looked at for a shape that is known."""

UNREADABLE = (ValueError, RecursionError, BadRecord)
"""What decoding raises on bad input: msgspec's errors and UnicodeDecodeError are ValueErrors."""

_NAN = re.compile(rb'("(?:score|start|end)"\s*:\s*)NaN')
"""WhisperX writes words it could not align with NaN, which is not JSON. Inside a string the quotes would be escaped."""

_lesson = msgspec.json.Decoder(lessons.Lesson)
_loose = msgspec.json.Decoder(lessons.LooseSegment)

T = TypeVar("T")


class Layout(Struct, frozen=True):
    """What a file is: its format, how its records lie in it, and from which byte on.

    ``loose``: every record is a single WhisperX segment, and neighbours make a lesson together. ``joint``: what
    stands between the elements of an array; None where it cannot be cut.
    """

    path: str
    format: str
    records: str
    loose: bool
    begins: int
    limit: int
    joint: bytes | None = None

    @property
    def is_separable(self) -> bool:
        """Whether stretches of whole records can be read each by itself."""
        return self.records == LINES or self.joint is not None

    def is_endless(self, part: Stretch) -> bool:
        """Whether a stretch is all that is left of a file, and too much to be held at once."""
        return (self.loose or self.records == ARRAY) and part.size > 2 * LONGEST

    @property
    def whole(self) -> Stretch:
        """All of the file."""
        return Stretch(self.begins, sys.maxsize, 1)

    @contextmanager
    def open(self, part: Stretch) -> Iterator["Reading"]:
        """Open a stretch of the file to be read."""
        with open(self.path, "rb", buffering=BUFFER) as file:
            file.seek(part.offset)
            yield Reading(self, file, self._cut(file, part))

    def stretches(self, size: int) -> Iterator[Stretch]:
        """Cut the file into stretches of whole records, where segments are loose into such of whole lessons."""
        with open(self.path, "rb") as file:
            file.seek(self.begins)
            found = arrays.stretches(file, size, self.joint, LONGEST) if self.joint else stretches(file, size)
            yield from self._of_lessons(found) if self.loose else found

    def _cut(self, file: BinaryIO, part: Stretch) -> Iterator[Record]:
        if self.records != ARRAY:
            return _cut(file, self.records, self.limit, part)
        opened = part.offset > self.begins
        if self.is_endless(part):
            return arrays.elements(file, self.limit, part, opened=opened)
        closed = part.offset + part.size == os.fstat(file.fileno()).st_size
        return arrays.within(file.read(part.size), self.limit, part, opened=opened, closed=closed)

    def _of_lessons(self, parts: Iterator[Stretch]) -> Iterator[Stretch]:
        """Put off each cut until the next lesson begins, and cut no more where none does for long."""
        offset, line = self.begins, 1
        for part in islice(parts, 1, None):
            if part.offset - offset > LONGEST:
                break
            if cut := self._lesson_in(part):
                yield Stretch(offset, cut.offset - offset, line)
                offset, line = cut.offset, cut.line
        yield Stretch(offset, Path(self.path).stat().st_size - offset, line)

    def _lesson_in(self, part: Stretch) -> Stretch | None:
        """Return what of a stretch comes after the first lesson that ends in it; ``None``: none does."""
        whose = None
        with self.open(part) as reading, suppress(BadRecord):
            for line, segment in reading.segments(Tally()):
                if whose not in (None, segment.whose):
                    return Stretch(reading.at, part.offset + part.size - reading.at, line)
                whose = segment.whose
        return None


class Reading(Struct):
    """An open file on its way through: what was read of it so far, and at which byte the last record begins."""

    layout: Layout
    file: BinaryIO
    records: Iterator[Record]
    records_read: int = 0
    at: int = 0

    def examples(self, tally: Tally) -> Iterator[tuple[int, Example]]:
        """Yield the examples with the line they begin on; what cannot be used goes to the tally."""
        if self.layout.format != formats.WHISPERX:
            yield from self._conversations(tally)
        elif self.layout.loose:
            yield from _taught(lessons.gather(self.segments(tally)), tally)
        else:
            yield from _taught(self._decoded(_lesson, tally), tally)

    def segments(self, tally: Tally) -> Iterator[tuple[int, lessons.LooseSegment]]:
        """Yield segments that stand alone, each with its line."""
        return self._decoded(_loose, tally)

    def _conversations(self, tally: Tally) -> Iterator[tuple[int, Example]]:
        read = formats.CONVERSATIONS[self.layout.format]
        for line, data in self._records(tally):
            try:
                yield line, read(data)
            except UNREADABLE as error:
                tally.bad(line, formats.why_unreadable(error))

    def _decoded(self, decoder: "msgspec.json.Decoder[T]", tally: Tally) -> Iterator[tuple[int, T]]:
        for line, data in self._records(tally):
            try:
                yield line, decoder.decode(data)
            except UNREADABLE as error:
                try:
                    yield line, decoder.decode(_NAN.sub(rb"\1null", data))
                except UNREADABLE:
                    tally.bad(line, formats.why_unreadable(error))

    def _records(self, tally: Tally) -> Iterator[tuple[int, bytes]]:
        limit = self.layout.limit
        try:
            for record in self.records:
                self.records_read += 1
                self.at = record.at
                if record.data is None:
                    tally.bad(record.line, formats.too_long(record.size, limit))
                else:
                    yield record.line, record.data
        except BadRecord as error:
            tally.bad(0, error)
            raise


def recognise(path: Path, wanted: str, *, max_record_bytes: int, max_lesson_bytes: int) -> Layout:
    """Tell what a file is; ``Rejected`` when it is not text, or of no known shape."""
    if wanted not in ("auto", *formats.FORMATS):
        raise Rejected(
            f"There is no format of that name. Use one of: auto, {', '.join(formats.FORMATS)}.",
            code="unknown_format",
            field="format",
        )
    with path.open("rb") as file:
        head = file.read(formats.HEAD)
        formats.check_text(head)
        text = head.removeprefix(formats.UTF8_MARK)
        begins = len(head) - len(text)
        records = ARRAY if formats.is_array(text) else DOCUMENT if formats.is_document(text) else LINES
        file.seek(begins)
        found, first = _shape(_cut(file, records, max_lesson_bytes))
        joint = None
        if records == ARRAY:
            file.seek(begins)
            with suppress(BadRecord):
                joint = arrays.joint(file, max_lesson_bytes)
    name = found if wanted == "auto" else wanted
    if name is None:
        raise formats.unknown_format(first)
    loose = name == formats.WHISPERX and first is not None and not formats.is_lesson(first)
    limit = max_lesson_bytes if name == formats.WHISPERX else max_record_bytes
    return Layout(str(path), name, records, loose, begins, limit, joint)


def _shape(records: Iterator[Record]) -> tuple[str | None, bytes | None]:
    """Return the first shape that is known, and the record that has it (else the first record that is JSON)."""
    first: bytes | None = None
    try:
        for record in islice(records, SAMPLED):
            shape = formats.shape_of(record.data or b"")
            if shape:
                return shape, record.data
            if first is None and formats.is_object(record.data or b""):
                first = record.data
    except BadRecord:
        pass
    return None, first


def _cut(file: BinaryIO, records: str, limit: int, part: Stretch = WHOLE) -> Iterator[Record]:
    """Cut the file into records: an array's elements, one document, or lines."""
    if records == ARRAY:
        return arrays.elements(file, limit)
    if records == DOCUMENT:
        return _document(file, limit)
    return lines(file, limit, part)


def _document(file: BinaryIO, limit: int) -> Iterator[Record]:
    data = file.read(limit + 1)
    yield Record(1, data if len(data) <= limit else None, len(data), 0)


def _taught(found: Iterator[tuple[int, lessons.Lesson]], tally: Tally) -> Iterator[tuple[int, Example]]:
    for line, lesson in found:
        try:
            made, unsure = lessons.examples(lesson, line)
        except BadRecord as error:
            tally.bad(line, error)
            continue
        if unsure:
            tally.drop("segments_not_trusted", line, unsure)
        for example in made:
            yield line, example
