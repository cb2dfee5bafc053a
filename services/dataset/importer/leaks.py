"""The proof that nothing trains a model which later tests it: read from the files as written."""

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from services.dataset.domain.examples import Example, Turn
from services.dataset.importer import parquet

SEEN = "CREATE TABLE seen (what BLOB PRIMARY KEY, split TEXT NOT NULL) WITHOUT ROWID"
SEE = "INSERT OR IGNORE INTO seen (what, split) VALUES (?, ?)"
WHERE = "SELECT split FROM seen WHERE what = ?"

_turns = msgspec.json.Decoder(tuple[Turn, ...])


class Leak(Exception):
    """The same text, nearly the same, or a speaker who is held out stands in two splits: a bug, never a user's."""


def check(files: Mapping[str, Path], by: str, alike: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Raise ``Leak`` when two of the splits (name → Parquet file) share a text; with ``by="speaker"`` also a speaker.

    So it does when two texts that are ``alike`` (their digests) stand in different splits. Hashes are computed anew
    from what the files say; they are kept in a temporary table on disk.
    """
    index = sqlite3.connect("", isolation_level=None)
    try:
        index.execute(SEEN)
        index.execute("BEGIN")
        for split, path in files.items():
            for row in parquet.read(path):
                rejected = _turns.decode(row.rejected) if row.rejected else ()
                _see(index, Example(_turns.decode(row.messages), rejected=rejected).digest, split, row.id)
                if by == "speaker":
                    _see(index, f"speaker {row.speaker}".encode(), split, row.id)
        for one, other in alike:
            _see_alike(index, one, other)
    finally:
        index.close()


def _see_alike(index: sqlite3.Connection, one: bytes, other: bytes) -> None:
    first, second = (index.execute(WHERE, (what,)).fetchone() for what in (one, other))
    if first != second:
        raise Leak(f"Examples {one.hex()} and {other.hex()} are nearly the same and stand in different splits.")


def _see(index: sqlite3.Connection, what: bytes, split: str, example: str) -> None:
    if not index.execute(SEE, (what, split)).rowcount:
        other = index.execute(WHERE, (what,)).fetchone()[0]
        if other != split:
            raise Leak(f"Example {example} of the {split} split shares its text or speaker with the {other} split.")
