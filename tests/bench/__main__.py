"""Every benchmark, one after another: ``make bench`` is short (under ten minutes), ``make bench-full`` is all of it.

Nothing here passes or fails. Each prints what it measured; at the end stands a table of what was found beside the
goals, and ``.bench/figures.svg`` draws it.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench import figures

FOLDER = Path(__file__).parents[2] / ".bench"


class Bench(NamedTuple):
    """A module of this folder and its arguments: ``short`` is ``None`` where it has no short version."""

    name: str
    short: tuple[str, ...] | None
    full: tuple[str, ...] = ()


BENCHES = (
    Bench("training", ("--rounds", "1", "--steps", "2", "--exchanges", "1"), ("--rounds", "5", "--rivals")),
    Bench("quality", None),
    Bench("preferring", None),
    Bench("fact_latency", ("--seconds", "5", "--rounds", "1")),
    Bench("gateway", ("--seconds", "5", "--rounds", "1", "--only", "requests")),
    Bench("import_lessons", ("--segments", "160000"), ("--segments", "800000", "--rounds", "3")),
    Bench("growth", None),
    Bench("chat", ("--rounds", "1", "--tokens", "24")),
    Bench("leases", ("--grants", "1000")),
    Bench("dispatch", ("--single", "100")),
    Bench("start", ("--jobs", "1")),
    Bench("overhead", ("--minutes", "1")),
    Bench("checkpoints", None),
    Bench("resume", None, ("--kills", "5")),
    Bench("worlds", None),
    Bench("proof", ("--rounds", "1")),
    Bench("evaluation", None, ("--whole",)),
)


def main() -> int:
    """Run each in a process of its own, so that none warms another's caches; return the worst exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    full = parser.parse_args().full
    FOLDER.mkdir(exist_ok=True)
    kept = FOLDER / "figures.jsonl"
    kept.unlink(missing_ok=True)
    worst = 0
    for bench in BENCHES:
        arguments = bench.full if full else bench.short
        if arguments is not None:
            print(f"\n== {bench.name} {' '.join(arguments)}".rstrip(), flush=True)
            worst = max(worst, _run(bench.name, arguments, kept))
    found = figures.read(kept)
    print(f"\n{figures.table(found)}")
    drawn = FOLDER / "figures.svg"
    drawn.write_text(figures.picture(found))
    print(f"\nPicture: {drawn.relative_to(FOLDER.parent)}")
    return worst


def _run(name: str, arguments: tuple[str, ...], kept: Path) -> int:
    began = time.monotonic()
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    code = subprocess.run(command, env=os.environ | {figures.FILE: str(kept)}).returncode
    ended = "" if code == 0 else f", it ended with code {code}"
    print(f"-- {name}: {time.monotonic() - began:.0f} s{ended}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
