"""Reads the held-out part of a dataset version from its Parquet file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from services.evaluator.domain.owed import chosen


class Conversation(Struct, frozen=True):
    """One held-out conversation; ``messages`` as the dataset service wrote them: role, content, maybe weight.

    Of a pair they end with the preferred reply, and ``rejected`` are the same with the other one.
    """

    id: str
    messages: list[dict[str, Any]]
    rejected: list[dict[str, Any]] = []


def read(path: Path, most: int, seed: int) -> tuple[list[Conversation], int]:
    """Return the conversations to measure, ``most`` at most, drawn by the seed, and how many the split holds."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        table = file.read([name for name in Conversation.__struct_fields__ if name in file.schema_arrow.names])
    places: Sequence[int] = chosen(table.num_rows, most, seed)
    rows = table.take(list(places)).to_pylist()
    found = [
        Conversation(row["id"], msgspec.json.decode(row["messages"]), msgspec.json.decode(row.get("rejected") or "[]"))
        for row in rows
    ]
    return found, table.num_rows
