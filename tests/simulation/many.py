"""Many worlds in turn, or in several processes, which could not find this in a ``__main__``."""

import multiprocessing
from collections import Counter

from tests.simulation.worlds import Outcome, live

CHUNK = 250


def live_all(seeds: list[int]) -> tuple[list[Outcome], Counter[str]]:
    """Live worlds in turn; return those that failed, and what bit in all of them."""
    failed, counts = [], Counter[str]()
    for seed in seeds:
        outcome = live(seed)
        counts.update(outcome.counts)
        if outcome.violation:
            failed.append(outcome)
    return failed, counts


def live_at_once(seeds: list[int], processes: int) -> tuple[list[Outcome], Counter[str]]:
    """Do the same in several processes, each a fresh one."""
    failed, counts = [], Counter[str]()
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for broken, bit in pool.imap(live_all, chunks):
            failed += broken
            counts.update(bit)
    return failed, counts
