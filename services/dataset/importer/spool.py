"""Examples on their way: the text in a file, what must be searched in SQLite, nearly nothing in memory.

The index refuses a text it already has, so duplicates end here, and says afterwards which
split each example belongs to. It lies in the work folder and ends with it.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from contracts.datasets import SplitPlan
from services.dataset.domain import splits
from services.dataset.domain.examples import Example

MAIN, HELD_OUT = 0, 1
"""Which upload an example comes from: the file itself, or the validation file beside it."""

CREATE = """
    CREATE TABLE example (
        seq INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, part INT NOT NULL, line INT NOT NULL,
        speaker TEXT NOT NULL, unit TEXT NOT NULL);
    CREATE TABLE placed (part INT NOT NULL, name TEXT NOT NULL, count INT NOT NULL, split TEXT NOT NULL,
        PRIMARY KEY (part, name)) WITHOUT ROWID;
"""
ADD = "INSERT OR IGNORE INTO example (digest, part, line, speaker, unit) VALUES (?, ?, ?, ?, ?)"
PART_OF = "SELECT part FROM example WHERE digest = ?"
COUNT = "SELECT count(*) FROM example WHERE part = ?"
LESSONS = "SELECT count(DISTINCT unit) FROM example WHERE part = ? AND unit <> ''"
UNITS = """
    SELECT name, count FROM (SELECT {name} AS name, count(*) AS count FROM example WHERE part = ? GROUP BY 1)
     ORDER BY place(name), name
"""
PLACE = "INSERT INTO placed (part, name, count, split) VALUES (?, ?, ?, ?)"
HAS_SPLIT = "SELECT EXISTS (SELECT 1 FROM placed WHERE part = ? AND split = ?)"
COUNT_UNITS = "SELECT count(*) FROM placed WHERE part = ?"
GIVE_SMALLEST = """
    UPDATE placed SET split = ?3
     WHERE part = ?1 AND name = (
        SELECT name FROM placed WHERE part = ?1 AND split = ?2 ORDER BY count, place(name), name LIMIT 1)
"""
SPEAKERS_IN_BOTH = """
    SELECT line FROM example WHERE part = 0 AND speaker IN (SELECT speaker FROM example WHERE part = 1) ORDER BY seq
"""
LEAVE_SPEAKERS = """
    DELETE FROM example WHERE part = 0 AND speaker IN (SELECT speaker FROM example WHERE part = 1)
"""
SPLIT_OF_EACH = """
    SELECT e.seq, e.line, p.split FROM example e JOIN placed p ON p.part = e.part AND p.name = {name} ORDER BY e.seq
"""

NAME_OF = {"conversation": "hex(digest)", "lesson": "unit", "prompt": "unit", "speaker": "speaker"}
"""The unit of division, as an expression over ``example``."""


class Row(Struct, frozen=True, array_like=True):
    """An example as it goes into a split's file."""

    id: str
    messages: str
    speaker: str
    source: str
    rejected: str = ""


class Spool:
    """Takes examples in, then gives each back with its split."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._index = sqlite3.connect(folder / "index.sqlite", isolation_level=None)
        self._index.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000;")
        self._index.executescript(CREATE)
        self._index.create_function("place", 1, lambda name: splits.sort_key(seed, name), deterministic=True)
        self._index.execute("BEGIN")
        self._path = folder / "examples.jsonl"
        self._file = self._path.open("wb", buffering=1 << 18)
        self._encoder = msgspec.json.Encoder()

    def add(self, example: Example, part: int, line: int) -> int | None:
        """Keep an example; if its text is here already, return the part that has it and keep nothing."""
        digest = example.digest
        added = self._index.execute(ADD, (digest, part, line, example.speaker, example.unit))
        if not added.rowcount:
            return int(self._index.execute(PART_OF, (digest,)).fetchone()[0])
        self._file.write(
            self._encoder.encode(
                Row(
                    digest.hex(),
                    example.messages,
                    example.speaker,
                    example.source or f"line {line}",
                    example.rejected_messages,
                )
            )
        )
        self._file.write(b"\n")
        return None

    def count(self, part: int = MAIN) -> int:
        """How many examples of a part are kept."""
        return int(self._index.execute(COUNT, (part,)).fetchone()[0])

    def unit(self, plan: SplitPlan, part: int, larger: str = "lesson") -> str:
        """Return what is not torn apart: a speaker, a conversation, or what is ``larger`` where there is enough of it.

        A lesson is larger than a conversation, and so is a prompt that several pairs answer.
        """
        lessons = self._index.execute(LESSONS, (part,)).fetchone()[0]
        if plan.by == "conversation" and lessons >= splits.ENOUGH_LESSONS:
            return larger
        return plan.by

    def leave_speakers_held_out(self) -> list[int]:
        """Drop examples of speakers who are also in the validation file; return their lines."""
        found = [line for (line,) in self._index.execute(SPEAKERS_IN_BOTH)]
        self._index.execute(LEAVE_SPEAKERS)
        return found

    def divide(self, part: int, unit: str, aim: splits.Sizes, rest: str = splits.TRAIN) -> None:
        """Place every unit of a part; ``Rejected`` (``empty_split``) when a split that is wanted stays empty."""
        units = self._index.execute(UNITS.format(name=NAME_OF[unit]), (part,))
        placed = splits.divide(units, aim, rest)
        self._index.executemany(PLACE, ((part, name, count, split) for name, count, split in placed))
        self._fill_empty(part, unit, aim, rest)

    def place_all(self, part: int, unit: str, split: str) -> None:
        """Place a whole part in one split."""
        self.divide(part, unit, splits.Sizes(0, 0), rest=split)

    def divided(self, unit: str) -> Iterator[tuple[str, int, Row]]:
        """Yield every example with its split and line, in the order of the files."""
        self._file.close()
        decoder = msgspec.json.Decoder(Row)
        with self._path.open("rb", buffering=1 << 18) as file:
            rows = enumerate(file, start=1)
            for seq, line, split in self._index.execute(SPLIT_OF_EACH.format(name=NAME_OF[unit])):
                data = next(data for number, data in rows if number == seq)
                yield split, line, decoder.decode(data)

    def close(self) -> None:
        """Let go of the files."""
        self._file.close()
        self._index.close()

    def _fill_empty(self, part: int, unit: str, aim: splits.Sizes, rest: str) -> None:
        """Give a split that was wanted and got nothing the smallest unit of the rest."""
        units = int(self._index.execute(COUNT_UNITS, (part,)).fetchone()[0])
        held_out = splits.wanted(aim)
        for split in held_out:
            if units <= len(held_out):
                raise splits.too_few_units(split, units, unit)
            if not self._has(part, split):
                self._index.execute(GIVE_SMALLEST, (part, rest, split))
        if not self._has(part, rest):
            raise splits.too_few_units(rest, units, unit)

    def _has(self, part: int, split: str) -> bool:
        return bool(self._index.execute(HAS_SPLIT, (part, split)).fetchone()[0])
