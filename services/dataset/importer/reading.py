"""From the bytes of a file to examples, one record at a time."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
from msgspec import Struct

from libs.errors import Rejected
from services.dataset.domain import formats, lessons
from services.dataset.domain.examples import Example
from services.dataset.domain.lines import Record, elements, lines
from services.dataset.domain.problems import BadRecord, Tally

SAMPLED = 50
"""Records that are looked at for a shape that is known."""

UNREADABLE = (ValueError, RecursionError, BadRecord)
"""What decoding raises on bad input: msgspec's errors and UnicodeDecodeError are ValueErrors."""

_NAN = re.compile(rb'("(?:score|start|end)"\s*:\s*)NaN')
"""WhisperX writes words it could not align with NaN, which is not JSON. Inside a string the quotes would be escaped."""

_lesson = msgspec.json.Decoder(lessons.Lesson)
_loose = msgspec.json.Decoder(lessons.LooseSegment)

T = TypeVar("T")


class Source(Struct):
    """An open file whose format is known. ``loose``: every record is a single WhisperX segment."""

    file: BinaryIO
    format: str
    loose: bool
    head: bytes
    limit: int
    records_read: int = 0

    def examples(self, tally: Tally) -> Iterator[tuple[int, Example]]:
        """Yield the examples with the line they begin on; what cannot be used goes to the tally."""
        if self.format != formats.WHISPERX:
            yield from self._conversations(tally)
        elif self.loose:
            yield from _taught(lessons.gather(self._decoded(_loose, tally)), tally)
        else:
            yield from _taught(self._decoded(_lesson, tally), tally)

    def _conversations(self, tally: Tally) -> Iterator[tuple[int, Example]]:
        read = formats.CONVERSATIONS[self.format]
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
        try:
            for record in _cut(self.file, self.head, self.limit):
                self.records_read += 1
                if record.data is None:
                    tally.bad(record.line, formats.too_long(record.size, self.limit))
                else:
                    yield record.line, record.data
        except BadRecord as error:
            tally.bad(0, error)
            raise


def open_source(path: Path, wanted: str, *, max_record_bytes: int, max_lesson_bytes: int) -> Source:
    """Open a file and tell its format; ``Rejected`` when it is not text, or of no known shape."""
    if wanted not in ("auto", *formats.FORMATS):
        raise Rejected(
            f"There is no format of that name. Use one of: auto, {', '.join(formats.FORMATS)}.",
            code="unknown_format",
            field="format",
        )
    file = path.open("rb")
    head = file.read(formats.HEAD)
    formats.check_text(head)
    found, first = _shape(file, head, max_lesson_bytes)
    name = found if wanted == "auto" else wanted
    if name is None:
        raise formats.unknown_format(first)
    loose = name == formats.WHISPERX and first is not None and not formats.is_lesson(first)
    limit = max_lesson_bytes if name == formats.WHISPERX else max_record_bytes
    return Source(file, name, loose, head, limit)


def _shape(file: BinaryIO, head: bytes, limit: int) -> tuple[str | None, bytes | None]:
    """Return the first shape that is known, and the record that has it (else the first record that is JSON)."""
    first: bytes | None = None
    try:
        for record, _ in zip(_cut(file, head, limit), range(SAMPLED), strict=False):
            shape = formats.shape_of(record.data or b"")
            if shape:
                return shape, record.data
            if first is None and formats.is_object(record.data or b""):
                first = record.data
    except BadRecord:
        pass
    return None, first


def _cut(file: BinaryIO, head: bytes, limit: int) -> Iterator[Record]:
    """Cut the file into records from its beginning: an array's elements, one document, or lines."""
    head_text = head.removeprefix(formats.UTF8_MARK)
    file.seek(len(head) - len(head_text))
    if formats.is_array(head_text):
        return elements(file, limit)
    if formats.is_document(head_text):
        return _document(file, limit)
    return lines(file, limit)


def _document(file: BinaryIO, limit: int) -> Iterator[Record]:
    data = file.read(limit + 1)
    yield Record(1, data if len(data) <= limit else None, len(data))


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
