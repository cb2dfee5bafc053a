"""The first examples of a version, exactly as the model will see them.

Only the footer and the first row group of the training file are read from storage, so a
preview of a large version is as quick as one of a small. What reads Parquet and tokens is
imported with the first question: an idle service holds 45 MB less.
"""

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from contracts.datasets import DatasetPreview, Piece, PreviewedExample
from libs.lm.models import resolve
from libs.storage import Storage

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from libs.lm.chat import ChatFormat

FOOTER = 64 << 10
"""Bytes read from a file's end at first; nearly every footer fits."""


class Shown(Struct, frozen=True):
    """An example in a split's file: its id, its messages as JSON, and those of the rejected side of a pair."""

    id: str
    messages: str
    rejected: str = ""


class Previewer:
    """Reads examples and marks what training teaches."""

    def __init__(self, storage: Storage, models_dir: Path) -> None:
        self.storage = storage
        self.models_dir = models_dir
        self._chat = lru_cache(maxsize=4)(self._load)

    async def preview(self, uri: str, model: str, max_length: int, count: int) -> DatasetPreview:
        """Return the first ``count`` training examples of the version at ``uri``."""
        rows = await first_rows(self.storage, f"{uri}/train.parquet", count)
        return await asyncio.to_thread(self._pieces, rows, model, max_length)

    def _load(self, model: str) -> "ChatFormat":
        from libs.lm.chat import ChatFormat

        return ChatFormat.load(resolve(self.models_dir, model))

    def _pieces(self, rows: list[Shown], model: str, max_length: int) -> DatasetPreview:
        chat = self._chat(model)
        return DatasetPreview(examples=tuple(_example(chat, row, max_length) for row in rows))


async def first_rows(storage: Storage, key: str, count: int) -> list[Shown]:
    """Return the first examples of a split's file, at most those of its first row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = await storage.size(key)
    tail = await _range(storage, key, max(0, size - FOOTER), size)
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    if footer > len(tail):
        tail = await _range(storage, key, size - footer, size)
    metadata = pq.read_metadata(pa.BufferReader(tail))
    head = await _range(storage, key, 0, _end_of_first_group(metadata))
    with pq.ParquetFile(pa.BufferReader(head), metadata=metadata) as file:
        columns = [name for name in Shown.__struct_fields__ if name in file.schema_arrow.names]
        rows = file.read_row_group(0, columns=columns).slice(0, count).to_pylist()
    return [Shown(**row) for row in rows]


def _end_of_first_group(metadata: "pq.FileMetaData") -> int:
    group = metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return max(_start(column) + int(column.total_compressed_size) for column in columns)


def _start(column: "pq.ColumnChunkMetaData") -> int:
    first = column.dictionary_page_offset or column.data_page_offset
    return int(first)


async def _range(storage: Storage, key: str, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in storage.stream(key, start, end)])


def _example(chat: "ChatFormat", row: Shown, max_length: int) -> PreviewedExample:
    sides = [
        chat.encode(msgspec.json.decode(messages), max_length) for messages in (row.messages, row.rejected) if messages
    ]
    pieces = [tuple(Piece(text=text, trained=trained) for text, trained in chat.pieces(side)) for side in sides]
    return PreviewedExample(
        example_id=row.id,
        tokens=sum(len(side.ids) for side in sides),
        trained_tokens=sum(side.trained_tokens for side in sides),
        pieces=pieces[0],
        rejected=pieces[1] if row.rejected else (),
    )
