"""Which models stay in memory: those that speak, and of the others the ones that were asked last."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Full(Exception):
    """As many models as are kept speak right now: another has to wait."""


class Shelf(Generic[K, V]):
    """Up to ``size`` things by key; the one not asked for longest goes first, and never one that is in use."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V], drop: Callable[[K, V], None], in_use: Collection[K]) -> V:
        """Return what is kept under the key, or make it after making room. ``Full`` when all that is kept is in use."""
        if key not in self._kept:
            self._make_room(drop, in_use)
            self._kept[key] = make()
        self._kept.move_to_end(key)
        return self._kept[key]

    @property
    def kept(self) -> tuple[K, ...]:
        """The keys of what is kept, the one asked for last at the end."""
        return tuple(self._kept)

    def _make_room(self, drop: Callable[[K, V], None], in_use: Collection[K]) -> None:
        while len(self._kept) >= self._size:
            oldest = next((key for key in self._kept if key not in in_use), None)
            if oldest is None:
                raise Full
            drop(oldest, self._kept.pop(oldest))
