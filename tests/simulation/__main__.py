"""Lives many worlds: ``python -m tests.simulation [--seeds 20000] [--first 0] [--processes 2] [--trace SEED]``.

Seeds that failed before are kept in ``kept-seeds.txt`` and lived first. A new failure is printed with the end of its
trace and kept. Ends with 1 when any world fails.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.simulation.many import live_at_once
from tests.simulation.worlds import Outcome, live

KEPT = Path(__file__).parent / "kept-seeds.txt"
SHOWN = 3
LINES = 60


def kept() -> list[int]:
    """Return the seeds that failed once."""
    lines = KEPT.read_text().splitlines() if KEPT.exists() else []
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


def keep(failed: list[Outcome]) -> None:
    """Write new failures down."""
    known = kept()
    with KEPT.open("a") as file:
        for outcome in failed:
            if outcome.seed not in known:
                file.write(f"{outcome.seed}  # {outcome.violation}\n")


def told(seed: int) -> str:
    """Return the end of a world's story."""
    outcome = live(seed, trace=True)
    return "\n".join([f"seed {seed}: {outcome.violation or 'all held'}", *outcome.lines[-LINES:]])


def main() -> None:
    """Read the command line, live, and say what was found."""
    parser = argparse.ArgumentParser(description="Live many small worlds in which everything goes wrong.")
    parser.add_argument("--seeds", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", type=int, help="tell one world's story and end")
    given = parser.parse_args()
    if given.trace is not None:
        print(told(given.trace))
        return
    began = time.perf_counter()
    seeds = [*kept(), *range(given.first, given.first + given.seeds)]
    failed, counts = live_at_once(seeds, given.processes)
    print(f"{len(seeds)} worlds in {time.perf_counter() - began:.1f} s on {given.processes} processes")
    print(", ".join(f"{what} {number}" for what, number in counts.most_common()))
    for outcome in failed[:SHOWN]:
        print(f"\n{told(outcome.seed)}")
    print(f"{len(failed)} failed" + (f": {', '.join(str(each.seed) for each in failed)}" if failed else ""))
    keep(failed)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
