"""Reads the held-out part of a dataset version from its Parquet file."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from services.evaluator.domain.owed import chosen


class Conversation(Struct, frozen=True):
    """One held-out conversation; ``messages`` as the dataset service wrote them: role, content, maybe weight."""

    id: str
    messages: list[dict[str, str]]


def read(path: Path, most: int, seed: int) -> tuple[list[Conversation], int]:
    """Return the conversations to measure, ``most`` at most, drawn by the seed, and how many the split holds."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path, columns=["id", "messages"])
    places: Sequence[int] = chosen(table.num_rows, most, seed)
    rows = table.take(list(places)).to_pylist()
    found = [Conversation(row["id"], msgspec.json.decode(row["messages"])) for row in rows]
    return found, table.num_rows
