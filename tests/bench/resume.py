"""From a killed training to its next step: ``python -m tests.bench.resume [--kills 10]``.

The shipped model trains in the child; after a checkpoint the child is killed, and a new one started at once from what
it saved. Named are the parts until the first new step: the interpreter and what the child imports before it speaks,
reading and checking, libraries and model, the step itself. Leases and downloads are not in it: the fault suite measures
those.
"""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import msgspec

from services.trainer.training.protocol import AttemptSpec, Progressed, Saved, Staged, read_line
from tests.bench.training import ROOT, conversations, spec

PART_UNTIL = {
    "preprocessing": "until it speaks",
    "loading_model": "read and check",
    "training": "libraries and model",
}


def child(asked: AttemptSpec, file: Path) -> subprocess.Popen[bytes]:
    """Start the child as a runner does."""
    file.write_bytes(msgspec.json.encode(asked))
    command = [sys.executable, "-m", "services.trainer.training", str(file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)


def one_life(asked: AttemptSpec, file: Path, times: dict[str, list[float]]) -> str:
    """Start a child, note its parts, kill it after it saved, and return where."""
    last = began = time.perf_counter()
    with child(asked, file) as process:
        assert process.stdout
        stepped = False
        for raw in process.stdout:
            line, now = read_line(raw), time.perf_counter()
            if isinstance(line, Staged):
                times[PART_UNTIL[line.stage]].append(now - last)
                last = now
            elif isinstance(line, Progressed) and not stepped:
                times["the step"].append(now - last)
                times["in all"].append(now - began)
                stepped = True
            elif isinstance(line, Saved) and stepped:
                process.send_signal(signal.SIGKILL)
                return line.path
    raise RuntimeError("the child ended before it saved")


def main() -> None:
    """Kill again and again, and print the spread of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        asked = spec(conversations(folder / "train.parquet"), folder / "work", 10_000)
        recipe = msgspec.structs.replace(asked.recipe, batch_size=given.batch, epochs=50, max_steps=0)
        asked = msgspec.structs.replace(asked, recipe=recipe, checkpoint_every=2)
        resume = None
        for number in range(given.kills + 1):
            life = msgspec.structs.replace(asked, attempt=number + 1, fence=number + 1, resume_from=resume)
            resume = one_life(life, folder / "spec.json", times)
            print(f"kill {number}: {times['in all'][-1]:.2f} s", file=sys.stderr, flush=True)
    for part, seconds in times.items():
        after = sorted(seconds[1:])
        p95 = after[min(len(after) - 1, round(0.95 * len(after)))]
        print(f"{part}: p50 {statistics.median(after):.2f} s, p95 {p95:.2f} s ({after[0]:.2f}–{after[-1]:.2f})")


if __name__ == "__main__":
    main()
