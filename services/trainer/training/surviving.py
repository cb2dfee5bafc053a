"""Measuring that survives memory running out: in smaller rows, or not at all."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from services.trainer.training.failures import kind_of

T = TypeVar("T")

SMALLEST = 128
"""Tokens of a row below which its size is not what is wrong."""


def within_memory(measure: Callable[[int], T], capacity: int) -> tuple[T | None, int]:
    """Return what ``measure`` gives with rows of ``capacity`` tokens, halved each time memory runs out, and that size.

    ``None`` when not even the smallest rows fit. Any other error is raised.
    """
    while True:
        try:
            return measure(capacity), capacity
        except Exception as error:
            if kind_of(error) != "out_of_memory":
                raise
        _let_go()
        if capacity <= SMALLEST:
            return None, capacity
        capacity = max(SMALLEST, capacity // 2)


def _let_go() -> None:
    """Give back what the failed pass still holds; outside the except clause, whose traceback would keep it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
