"""Every benchmark, one after another: ``make bench`` is short (under ten minutes), ``make bench-full`` is all of it.

Nothing here passes or fails. Each prints what it measured; at the end stands a table of what was found beside the
goals, and ``.bench/figures.svg`` draws it. What a slow machine has no time left for in the short version is cut off or
left out, and named: first stands what people wait for most.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.bench import figures

FOLDER = Path(__file__).parents[2] / ".bench"
SHORT_SECONDS = 585.0
LEAST_SECONDS = 20.0
"""What all benches of the short version may take together, and the least that one is begun for."""


class Bench(NamedTuple):
    """A module of this folder and its arguments: ``short`` is ``None`` where it has no short version."""

    name: str
    short: tuple[str, ...] | None
    full: tuple[str, ...] = ()


BENCHES = (
    Bench("training", ("--rounds", "1", "--steps", "2", "--exchanges", "1"), ("--rounds", "5", "--rivals")),
    Bench("chat", ("--rounds", "1", "--tokens", "24")),
    Bench("import_lessons", ("--segments", "160000"), ("--segments", "800000", "--rounds", "3")),
    Bench("proof", ("--rounds", "1")),
    Bench("start", ("--jobs", "1")),
    Bench("overhead", ("--minutes", "1")),
    Bench("fact_latency", ("--seconds", "5", "--rounds", "1")),
    Bench("gateway", ("--seconds", "5", "--rounds", "1", "--only", "requests")),
    Bench("leases", ("--grants", "1000")),
    Bench("dispatch", ("--single", "100")),
    Bench("quality", None),
    Bench("preferring", None),
    Bench("growth", None),
    Bench("checkpoints", None),
    Bench("resume", None, ("--kills", "5")),
    Bench("worlds", None),
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
    worst, began, late = 0, time.monotonic(), []
    for bench in BENCHES:
        arguments = bench.full if full else bench.short
        if arguments is None:
            continue
        left = None if full else SHORT_SECONDS - (time.monotonic() - began)
        code = _run(bench.name, arguments, kept, left) if left is None or left > LEAST_SECONDS else None
        if code is None:
            late.append(bench.name)
        worst = max(worst, code or 0)
    found = figures.read(kept)
    print(f"\n{figures.table(found)}")
    drawn = FOLDER / "figures.svg"
    drawn.write_text(figures.picture(found))
    print(f"\nPicture: {drawn.relative_to(FOLDER.parent)}")
    if late:
        print(f"No time was left for: {', '.join(late)}. Each runs alone, too: python -m tests.bench.{late[0]}")
    return worst


def _run(name: str, arguments: tuple[str, ...], kept: Path, seconds: float | None) -> int | None:
    """Return a bench's exit code; ``None`` when ``seconds`` were too few and it was ended with all it had started."""
    print(f"\n== {name} {' '.join(arguments)}".rstrip(), flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    process = subprocess.Popen(command, env=os.environ | {figures.FILE: str(kept)}, process_group=0)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    ended = "" if code == 0 else f", it ended with code {code}"
    print(f"-- {name}: {time.monotonic() - began:.0f} s{ended}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
