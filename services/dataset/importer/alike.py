"""Finds, among all examples kept so far, those that a new one may be nearly the same as.

An example is sketched by MinHash (Broder 1997; rensa's R-MinHash): 120 numbers, of which two sketches share about the
share that their shingles have in common. They are looked up in ``BANDS`` groups of six; of two examples 0.85 alike at
least one group is the same with a probability above 0.9999, at 0.7 with 0.92. What is found is then compared word by
word (``domain.resemblance``), so nothing is called a near duplicate that is none.

An example takes 20 entries of 8 bytes in a table that is at most 60 % full: 270 to 530 bytes.
"""

import zlib
from array import array
from collections import Counter
from collections.abc import Sequence

from rensa import RMinHash

from services.dataset.domain.resemblance import Sides

BANDS = 20
ROWS = 6
SEED = 42

CHECKED = 3
"""Candidates that are compared word by word, those with the most groups in common first."""

SLOTS = 1 << 14
FULLEST = 0.6

_BAND = ROWS * 4


def sketch(compared: Sides) -> tuple[int, ...]:
    """Return the names of an example's groups: ``BANDS`` numbers of 32 bits."""
    hashed = RMinHash(BANDS * ROWS, SEED)
    hashed.update(compared.shingles)
    data = array("I", hashed.digest()).tobytes()
    return tuple(zlib.crc32(data[at : at + _BAND], at) for at in range(0, BANDS * _BAND, _BAND))


class Groups:
    """Which example was the first in each group: one open-addressed table, an entry the group and the example."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * SLOTS))
        self._mask = SLOTS - 1
        self._used = 0

    def candidates(self, groups: Sequence[int]) -> list[int]:
        """Return the examples that have groups in common with a new one, at most ``CHECKED``, the likeliest first."""
        entries = (self._slots[self._place(group)] for group in groups)
        shared = Counter(entry & 0xFFFFFFFF for entry in entries if entry)
        return [example for example, _ in shared.most_common(CHECKED)]

    def add(self, example: int, groups: Sequence[int]) -> None:
        """Enter an example (1 to 2³²-1) in those of its groups where it is the first."""
        for group in groups:
            at = self._place(group)
            if not self._slots[at]:
                self._slots[at] = group << 32 | example
                self._used += 1
        if self._used > FULLEST * len(self._slots):
            self._grow()

    def _place(self, group: int) -> int:
        slots, mask, at = self._slots, self._mask, group & self._mask
        while (entry := slots[at]) and entry >> 32 != group:
            at = (at + 1) & mask
        return at

    def _grow(self) -> None:
        before = self._slots
        self._slots = array("Q", bytes(16 * len(before)))
        self._mask = len(self._slots) - 1
        for entry in before:
            if entry:
                self._slots[self._place(entry >> 32)] = entry
