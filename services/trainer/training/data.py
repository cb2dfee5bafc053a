"""What is taught: a split's conversations as token ids and labels, packed for one forward pass.

Steps are counted in examples (``recipe.batch_size`` each), never in rows, so the number of steps and what each step
teaches do not depend on the machine; only how a step's examples share forward passes does. No torch here.
"""

import hashlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as parquet
from msgspec import Struct

from libs.lm.chat import ChatFormat


class NothingToLearn(ValueError):
    """No token of the training data would be taught."""


class Example(Struct, frozen=True):
    """One conversation: token ids and labels (-100 where nothing is taught), of equal length."""

    ids: list[int]
    labels: list[int]


class Split(Struct, frozen=True, kw_only=True):
    """The examples that teach something, and what was left out: ``cut`` tokens beyond the maximum length,
    ``dropped`` examples in which no taught token remained.
    """

    examples: list[Example]
    tokens: int
    trained_tokens: int
    cut: int
    dropped: int

    @property
    def fingerprint(self) -> str:
        """The sha256 of ids and labels in order."""
        digest = hashlib.sha256()
        for each in self.examples:
            digest.update(array("q", [len(each.ids), *each.ids, *each.labels]).tobytes())
        return digest.hexdigest()


class Row(Struct, frozen=True):
    """Whole examples side by side for one forward pass. ``positions`` start at 0 with every example."""

    ids: list[int]
    labels: list[int]
    positions: list[int]


def read_split(path: Path, chat: ChatFormat, max_length: int) -> Split:
    """Encode a Parquet split (columns ``id``, ``messages`` as JSON) as the model sees it.

    ``NothingToLearn`` when no example holds a taught token within ``max_length`` tokens.
    """
    column = parquet.read_table(path, columns=["messages"])["messages"]
    encoded = [chat.encode(_messages(each), max_length) for each in column.to_pylist()]
    kept = [each for each in encoded if each.trained_tokens]
    if not kept:
        raise NothingToLearn(
            f"None of the {len(encoded)} conversations of {path.name} holds an assistant's reply within the first "
            f"{max_length} tokens, so training would teach nothing. Add replies, or raise the recipe's max_length."
        )
    return Split(
        examples=[Example(each.ids, each.labels) for each in kept],
        tokens=sum(len(each.ids) for each in kept),
        trained_tokens=sum(each.trained_tokens for each in kept),
        cut=sum(each.cut for each in encoded),
        dropped=len(encoded) - len(kept),
    )


def pack(examples: Sequence[Example], capacity: int) -> list[Row]:
    """Put examples into rows of at most ``capacity`` tokens, longest first into the first row with room.

    An example longer than ``capacity`` is a row of its own. First-fit decreasing needs at most 11/9 of the best
    number of rows plus one (Johnson 1973).
    """
    rows: list[list[Example]] = []
    room: list[int] = []
    for example in sorted(examples, key=lambda each: -len(each.ids)):
        size = len(example.ids)
        at = next((index for index, left in enumerate(room) if left >= size), len(rows))
        if at == len(rows):
            rows.append([])
            room.append(max(capacity, size))
        rows[at].append(example)
        room[at] -= size
    return [_row(each) for each in rows]


def _row(examples: Sequence[Example]) -> Row:
    return Row(
        ids=[token for each in examples for token in each.ids],
        labels=[label for each in examples for label in (-100, *each.labels[1:])],
        positions=[position for each in examples for position in range(len(each.ids))],
    )


def _messages(cell: str) -> list[dict[str, Any]]:
    return msgspec.json.decode(cell, type=list[dict[str, Any]])
