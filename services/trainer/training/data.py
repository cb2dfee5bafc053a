"""What is taught: a split's conversations as token ids and labels, packed for one forward pass.

Steps are counted in examples (``recipe.batch_size`` each), never in rows, so the number of steps and what each step
teaches do not depend on the machine; only how a step's examples share forward passes does. No torch here.
"""

import hashlib
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as parquet
from msgspec import Struct

from libs.lm.chat import ChatFormat


class NothingToLearn(ValueError):
    """No token of the training data would be taught."""


class Example(Struct, frozen=True):
    """One conversation: token ids and labels (-100 where nothing is taught), of equal length.

    A pair is two, one after the other: with the preferred reply, and from ``second`` on with the rejected one.
    """

    ids: list[int]
    labels: list[int]
    second: int = 0


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
            halves = [each.second] if each.second else []
            digest.update(array("q", [len(each.ids), *halves, *each.ids, *each.labels]).tobytes())
        return digest.hexdigest()


class Row(Struct, frozen=True):
    """Whole examples side by side for one forward pass. ``positions`` start at 0 with every conversation."""

    ids: list[int]
    labels: list[int]
    positions: list[int]

    @property
    def taught(self) -> int:
        """How many tokens are taught."""
        return sum(label != -100 for label in self.labels)

    @property
    def conversations(self) -> list[slice]:
        """Where each conversation lies in the row."""
        starts = [at for at, position in enumerate(self.positions) if position == 0]
        return [slice(start, end) for start, end in pairwise([*starts, len(self.ids)])]

    @property
    def pairs(self) -> int:
        """How many pairs these are, if they are: two conversations each."""
        return self.positions.count(0) // 2


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


def read_pairs(path: Path, chat: ChatFormat, max_length: int) -> Split:
    """Encode a Parquet split of preference pairs (``messages`` end with one reply, ``rejected`` with the other).

    A pair of which cutting leaves no reply, or the same of both, is dropped; ``NothingToLearn`` when all are.
    """
    table = parquet.read_table(path, columns=["messages", "rejected"])
    encoded = [
        (chat.encode(_messages(good), max_length), chat.encode(_messages(bad), max_length))
        for good, bad in zip(table["messages"].to_pylist(), table["rejected"].to_pylist(), strict=True)
    ]
    kept = [(good, bad) for good, bad in encoded if good.trained_tokens and bad.trained_tokens and good.ids != bad.ids]
    if not kept:
        raise NothingToLearn(
            f"None of the {len(encoded)} pairs of {path.name} holds two replies that differ within the first "
            f"{max_length} tokens, so training would teach nothing. Shorten what is asked, or raise the recipe's "
            "max_length."
        )
    return Split(
        examples=[Example(good.ids + bad.ids, good.labels + bad.labels, len(good.ids)) for good, bad in kept],
        tokens=sum(len(each.ids) for pair in kept for each in pair),
        trained_tokens=sum(each.trained_tokens for pair in kept for each in pair),
        cut=sum(each.cut for pair in encoded for each in pair),
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
    conversations = [(each.ids[part], each.labels[part]) for each in examples for part in _parts(each)]
    return Row(
        ids=[token for ids, _ in conversations for token in ids],
        labels=[label for _, labels in conversations for label in (-100, *labels[1:])],
        positions=[position for ids, _ in conversations for position in range(len(ids))],
    )


def _parts(example: Example) -> list[slice]:
    """Where the conversations of an example lie in it: one, or the two of a pair."""
    end = len(example.ids)
    return [slice(0, example.second), slice(example.second, end)] if example.second else [slice(0, end)]


def _messages(cell: str) -> list[dict[str, Any]]:
    return msgspec.json.decode(cell, type=list[dict[str, Any]])
