"""What was read of prompts, kept for those that begin alike: a session's next turn, a shared system message.

Prompts are read in blocks that begin at multiples of :data:`BLOCK` tokens, and only whole blocks are kept. A block is
thus computed in the same shape after the same tokens whether something was recalled or not, and the reply is the same
to the last bit; in bfloat16 a prompt read in other pieces gives log-probabilities that differ by 0.1 and more.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

BLOCK = 128
"""Tokens of a prompt read in one turn: a long one does not hold up the others' replies."""


class Recalled(NamedTuple, Generic[V]):
    """Something kept, of which the first ``tokens`` are what is asked for."""

    kept: V
    tokens: int


class Readings(Generic[K, V]):
    """Whole blocks of prompts by the model that read them, ``room`` bytes in all; what was not used longest goes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[tuple[K, tuple[int, ...]], tuple[V, int]] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(size for _, size in self._kept.values())

    def recall(self, model: K, ids: Sequence[int]) -> Recalled[V] | None:
        """Return what shares the most blocks with a prompt; one token at least is left to be read."""
        asked = ids[: whole(len(ids) - 1)]
        places = [each for each in self._kept if each[0] == model]
        nearest = max(places, key=lambda each: alike(each[1], asked), default=None)
        if nearest is None or not alike(nearest[1], asked):
            return None
        self._kept.move_to_end(nearest)
        return Recalled(self._kept[nearest][0], alike(nearest[1], asked))

    def keep(self, model: K, ids: Sequence[int], kept: V, size: int) -> None:
        """Keep the whole blocks ``ids`` of a prompt; what they continue is kept no longer."""
        if not ids or size > self._room:
            return
        for place in [each for each in self._kept if each[0] == model and alike(each[1], ids) == len(each[1])]:
            del self._kept[place]
        self._kept[model, tuple(ids)] = (kept, size)
        while self.size > self._room:
            self._kept.popitem(last=False)

    def forget(self, model: K) -> None:
        """Keep nothing of a model's."""
        for place in [each for each in self._kept if each[0] == model]:
            del self._kept[place]


def whole(tokens: int) -> int:
    """Return how many tokens whole blocks of this many hold."""
    return tokens // BLOCK * BLOCK


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two sequences share from their beginning, in whole blocks."""
    shared = 0
    while shared < min(len(one), len(other)) and tuple(one[shared : shared + BLOCK]) == tuple(
        other[shared : shared + BLOCK]
    ):
        shared += BLOCK
    return shared
