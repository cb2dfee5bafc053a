"""The files of a version: the same examples always give the same bytes."""

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from services.dataset.importer.spool import Row

ROWS = 1_000
BYTES = 4 << 20
"""A row group ends after so many rows or so much text: what one read holds in memory."""

COLUMNS = ("id", "messages", "speaker", "source")
PAIR_COLUMNS = (*COLUMNS, "rejected")


class SplitWriter:
    """Writes one split's examples in row groups."""

    def __init__(self, path: Path, columns: Sequence[str] = COLUMNS) -> None:
        self.path = path
        self.examples = 0
        self._rows: list[Row] = []
        self._held = 0
        self._schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in columns])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=["speaker"])

    def add(self, row: Row) -> None:
        """Write an example, now or with its neighbours."""
        self._rows.append(row)
        self._held += len(row.messages) + len(row.rejected)
        self.examples += 1
        if len(self._rows) == ROWS or self._held > BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns = [[getattr(row, name) for row in self._rows] for name in self._schema.names]
        arrays = [_strings(column) for column in columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows, self._held = [], 0


def _strings(column: list[str]) -> pa.StringArray:
    """Return texts as a column; ``pa.array`` would import pandas for it where that is installed."""
    encoded = [text.encode() for text in column]
    offsets = array("i", accumulate(map(len, encoded), initial=0))
    return pa.StringArray.from_buffers(len(column), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def read(path: Path) -> Iterator[Row]:
    """Yield the examples of a split, a row group at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            columns = file.read_row_group(number).to_pydict()
            yield from (Row(*values) for values in zip(*columns.values(), strict=True))
