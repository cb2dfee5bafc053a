"""Examples on their way: the text in a file, what must be searched in SQLite, nearly nothing in memory.

The index knows which texts it has, so duplicates end here, and says afterwards which split
each example belongs to. It lies in the work folder and ends with it. In memory are only the
groups that near duplicates are found by (``alike``).
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from contracts.datasets import Problem, SplitPlan
from libs.lm.counting import Counted
from services.dataset.domain import splits
from services.dataset.domain.examples import Turn
from services.dataset.domain.resemblance import Sides, sides, similarity
from services.dataset.importer.alike import Groups

_turns = msgspec.json.Decoder(tuple[Turn, ...])

MAIN, HELD_OUT = 0, 1
"""Which upload an example comes from: the file itself, or the validation file beside it."""

CREATE = """
    CREATE TABLE example (
        seq INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, part INT NOT NULL, line INT NOT NULL,
        speaker TEXT NOT NULL, unit TEXT NOT NULL, transcribed INT NOT NULL, place INT NOT NULL,
        tokens INT NOT NULL, trained INT NOT NULL, cut INT NOT NULL, lost INT NOT NULL);
    CREATE TABLE alike (one INT NOT NULL, other INT NOT NULL);
    CREATE TABLE joined (name TEXT PRIMARY KEY, unit TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE placed (part INT NOT NULL, name TEXT NOT NULL, count INT NOT NULL, split TEXT NOT NULL,
        PRIMARY KEY (part, name)) WITHOUT ROWID;
"""
ADD = """
    INSERT INTO example (digest, part, line, speaker, unit, transcribed, place, tokens, trained, cut, lost)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
KEPT = "SELECT part, line, transcribed, place FROM example WHERE seq = ?"
JOIN = "INSERT INTO alike (one, other) VALUES (?, ?)"
NAMES_ALIKE = """
    SELECT (SELECT {name} FROM example WHERE seq = one), (SELECT {name} FROM example WHERE seq = other) FROM alike
"""
DIGESTS_ALIKE = """
    SELECT a.digest, b.digest FROM alike JOIN example a ON a.seq = one JOIN example b ON b.seq = other
"""
JOINED = "INSERT INTO joined (name, unit) VALUES (?, ?)"
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
    SELECT e.seq, e.line, p.split, e.tokens, e.trained, e.cut, e.lost
      FROM example e JOIN placed p ON p.part = e.part AND p.name = {name}
     ORDER BY e.seq
"""

NAME_OF = {"conversation": "hex(digest)", "lesson": "unit", "prompt": "unit", "speaker": "speaker"}
"""The unit of division, as an expression over ``example``."""


UNIT_JOINED = "coalesce((SELECT joined.unit FROM joined WHERE joined.name = {name}), {name})"
"""The unit of division where near duplicates are kept: those that are alike are one."""


class Row(Struct, frozen=True, array_like=True):
    """An example as it goes into a split's file."""

    id: str
    messages: str
    speaker: str
    source: str
    rejected: str = ""


class Made(Struct, frozen=True, kw_only=True):
    """An example that is ready to be kept: ``row`` is a ``Row`` as JSON, ``sketch`` empty where it is not compared."""

    line: int
    digest: bytes
    speaker: str
    unit: str
    transcribed: bool
    row: bytes
    counted: Counted
    sketch: tuple[int, ...]
    doubts: tuple[Problem, ...]


class Kept(Struct, frozen=True):
    """An example of the spool that a new one resembles."""

    seq: int
    part: int
    line: int
    similarity: float


class Placed(Struct, frozen=True):
    """An example with its split, its line in the file and its tokens."""

    split: str
    line: int
    row: Row
    counted: Counted


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
        self._reader = self._path.open("rb")
        self._written = self._flushed = 0
        self._decoder = msgspec.json.Decoder(Row)
        self._groups = Groups()
        self._joined = False

    def twin(self, digest: bytes) -> int | None:
        """Return the part that has this very text; None: none has."""
        found = self._index.execute(PART_OF, (digest,)).fetchone()
        return int(found[0]) if found else None

    def resembled(self, made: Made, least: float) -> list[Kept]:
        """Return the examples that a new one resembles by ``least`` or more, the most alike first."""
        candidates = self._groups.candidates(made.sketch)
        if not candidates:
            return []
        own = self._sides(made.row, made.transcribed)
        found = [kept for kept in (self._compared(seq, own) for seq in candidates) if kept.similarity >= least]
        return sorted(found, key=lambda kept: -kept.similarity)

    def add(self, made: Made, part: int) -> int:
        """Keep an example; return its number."""
        said = (made.digest, part, made.line, made.speaker, made.unit, made.transcribed, self._written)
        added = self._index.execute(ADD, (*said, *msgspec.structs.astuple(made.counted)))
        self._file.write(made.row)
        self._file.write(b"\n")
        self._written += len(made.row) + 1
        seq = int(added.lastrowid or 0)
        self._groups.add(seq, made.sketch)
        return seq

    def join(self, one: int, other: int) -> None:
        """Remember that two examples must stand in one split."""
        self._index.execute(JOIN, (one, other))

    def _compared(self, seq: int, other: Sides) -> Kept:
        part, line, transcribed, place = self._index.execute(KEPT, (seq,)).fetchone()
        if place >= self._flushed:
            self._file.flush()
            self._flushed = self._written
        self._reader.seek(place)
        own = self._sides(self._reader.readline(), transcribed)
        return Kept(seq, part, line, similarity(own, other))

    def _sides(self, data: bytes, transcribed: bool) -> Sides:
        row = self._decoder.decode(data)
        rejected = _turns.decode(row.rejected) if row.rejected else ()
        return sides(_turns.decode(row.messages), rejected, transcribed=transcribed)

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

    def cluster(self, unit: str) -> None:
        """Make one unit of all those that examples which resemble each other belong to."""
        leads: dict[str, str] = {}

        def lead(name: str) -> str:
            while (ahead := leads.setdefault(name, name)) != name:
                leads[name] = name = leads[ahead]
            return name

        for one, other in self._index.execute(NAMES_ALIKE.format(name=NAME_OF[unit])):
            if one is not None and other is not None:
                first, second = sorted((lead(one), lead(other)))
                leads[second] = first
        self._index.executemany(JOINED, ((name, lead(name)) for name in list(leads)))
        self._joined = bool(leads)

    def alike(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the digests of examples that resemble each other and are both kept."""
        yield from self._index.execute(DIGESTS_ALIKE)

    def divide(self, part: int, unit: str, aim: splits.Sizes, rest: str = splits.TRAIN) -> None:
        """Place every unit of a part; ``Rejected`` (``empty_split``) when a split that is wanted stays empty."""
        units = self._index.execute(UNITS.format(name=self._name(unit)), (part,))
        placed = splits.divide(units, aim, rest)
        self._index.executemany(PLACE, ((part, name, count, split) for name, count, split in placed))
        self._fill_empty(part, unit, aim, rest)

    def place_all(self, part: int, unit: str, split: str) -> None:
        """Place a whole part in one split."""
        self.divide(part, unit, splits.Sizes(0, 0), rest=split)

    def divided(self, unit: str) -> Iterator[Placed]:
        """Yield every example with its split, in the order of the files."""
        self._file.close()
        with self._path.open("rb", buffering=1 << 18) as file:
            rows = enumerate(file, start=1)
            for seq, line, split, *counts in self._index.execute(SPLIT_OF_EACH.format(name=self._name(unit))):
                data = next(data for number, data in rows if number == seq)
                yield Placed(split, line, self._decoder.decode(data), Counted(*counts))

    def close(self) -> None:
        """Let go of the files."""
        self._file.close()
        self._reader.close()
        self._index.close()

    def _name(self, unit: str) -> str:
        return UNIT_JOINED.format(name=NAME_OF[unit]) if self._joined else NAME_OF[unit]

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
