"""From a stretch of a file to examples that are ready to be kept: checked, named, counted and sketched.

All that costs time and needs no memory of other examples is done here, so several processes
can do it for several stretches at once (``workers``). What they bring back is kept by one.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
from msgspec import Struct

from libs.lm.chat import ChatError
from libs.lm.counting import Counted, TokenCounter
from services.dataset.domain import resemblance
from services.dataset.domain.examples import Example, Turn, doubts
from services.dataset.domain.lines import Stretch
from services.dataset.domain.problems import BadRecord, Tally, problem_of
from services.dataset.importer.alike import sketch
from services.dataset.importer.reading import Layout
from services.dataset.importer.spec import Spec
from services.dataset.importer.spool import Made, Row

TOGETHER = 200
"""Examples that are handed on at once where a file cannot be read in stretches."""


class Part(Struct):
    """What a stretch gave: examples in the order of the file, records read, the position reached, what was left out."""

    made: list[Made]
    records: int
    position: int
    tally: Tally


class Maker:
    """Makes examples of records, as one import wants them."""

    def __init__(self, spec: Spec) -> None:
        self.by_speaker = spec.split.by == "speaker"
        self.counter = TokenCounter.load(Path(spec.model_dir), spec.max_length)
        self._encoder = msgspec.json.Encoder()

    def stretch(self, layout: Layout, part: Stretch) -> Part | None:
        """Read a stretch of whole records; ``None``: it holds none such, being cut amid an element or broken."""
        tally = Tally()
        try:
            with layout.open(part) as reading:
                made = [each for line, example in reading.examples(tally) for each in self._made(line, example, tally)]
        except BadRecord:
            return None
        return Part(made, reading.records_read, part.offset + part.size, tally)

    def whole(self, layout: Layout, tally: Tally, part: Stretch) -> Iterator[Part]:
        """Read what cannot be cut, a file or a stretch, a few examples at a time; ``tally`` has what is left out."""
        before = 0
        with layout.open(part) as reading:
            made = (each for line, example in reading.examples(tally) for each in self._made(line, example, tally))
            while some := list(islice(made, TOGETHER)):
                yield Part(some, reading.records_read - before, reading.file.tell(), Tally())
                before = reading.records_read
            yield Part([], reading.records_read - before, reading.file.tell(), Tally())

    def _made(self, line: int, example: Example, tally: Tally) -> Iterator[Made]:
        try:
            counted = self._checked(example)
        except BadRecord as error:
            tally.bad(line, error)
            return
        compared = resemblance.sides(example.turns, example.rejected, transcribed=example.transcribed)
        digest = example.digest
        row = Row(
            digest.hex(),
            example.messages,
            example.speaker,
            example.source or f"line {line}",
            example.rejected_messages,
        )
        yield Made(
            line=line,
            digest=digest,
            speaker=example.speaker,
            unit=example.unit,
            transcribed=example.transcribed,
            row=self._encoder.encode(row),
            counted=counted,
            sketch=sketch(compared) if compared.is_compared else (),
            doubts=tuple(problem_of(line, doubt, "warning") for doubt in doubts(example)),
        )

    def _checked(self, example: Example) -> Counted:
        """Count an example's tokens, of a pair those of both sides; ``BadRecord`` when it cannot train here."""
        try:
            counted = self._count(example.turns)
            if example.rejected:
                counted = _sum(counted, self._count(example.rejected))
        except ChatError as error:
            raise BadRecord(
                f"The base model cannot read this conversation: {error}",
                code="template_refuses",
                field="messages",
                fix="Bring the turns into an order the model knows: system, then user and assistant in turn.",
            ) from error
        if self.by_speaker and not example.speaker:
            raise BadRecord(
                "The record names no speaker, and the split holds out speakers.",
                code="missing_speaker",
                field="speaker",
                fix="Add a field speaker (WhisperX: metadata.instructor), or split by conversation.",
            )
        return counted

    def _count(self, turns: tuple[Turn, ...]) -> Counted:
        return self.counter.count(
            [{"role": turn.role, "content": turn.content, "weight": turn.weight} for turn in turns]
        )


def _sum(one: Counted, other: Counted) -> Counted:
    return Counted(one.tokens + other.tokens, one.trained + other.trained, one.cut or other.cut, one.lost or other.lost)
