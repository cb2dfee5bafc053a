"""From a killed training to its next step: ``python -m tests.bench.resume [--kills 10]``.

The shipped model trains in the child; after a checkpoint the child is killed, and a new one started at once from what
it saved. Named are the parts until the first new step: the interpreter and what the child imports before it speaks,
reading and checking, libraries and model, the step itself. Leases and downloads are not in it: the fault suite measures
those. Processor seconds stand beside: they say on a busy machine what an idle one would take.
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
import psutil

from services.trainer.training.protocol import AttemptSpec, Progressed, Saved, Staged, read_line
from tests.bench.training import ROOT, conversations, spec

PART_UNTIL = {
    "preprocessing": "until it speaks",
    "loading_model": "read and check",
    "training": "libraries and model",
}
Times = dict[str, list[tuple[float, float]]]
"""Wall and processor seconds of each part, one for each life of the child."""


def child(asked: AttemptSpec, file: Path) -> subprocess.Popen[bytes]:
    """Start the child as a runner does."""
    file.write_bytes(msgspec.json.encode(asked))
    command = [sys.executable, "-m", "services.trainer.training", str(file)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)


def one_life(asked: AttemptSpec, file: Path, times: Times) -> str:
    """Start a child, note its parts, kill it after it saved, and return where."""
    began = time.perf_counter()
    with child(asked, file) as process:
        assert process.stdout
        last, stepped = (began, 0.0), False
        for raw in process.stdout:
            line, now = read_line(raw), (time.perf_counter(), _processor_seconds(process.pid))
            spent = (now[0] - last[0], now[1] - last[1])
            if isinstance(line, Staged):
                times[PART_UNTIL[line.stage]].append(spent)
                last = now
            elif isinstance(line, Progressed) and not stepped:
                times["the step"].append(spent)
                times["in all"].append((now[0] - began, now[1]))
                stepped = True
            elif isinstance(line, Saved) and stepped:
                process.send_signal(signal.SIGKILL)
                return line.path
    raise RuntimeError("the child ended before it saved")


def _processor_seconds(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def main() -> None:
    """Kill again and again, and print the spread of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    times: Times = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        asked = spec(conversations(folder / "train.parquet"), folder / "work", 10_000)
        recipe = msgspec.structs.replace(asked.recipe, batch_size=given.batch, epochs=50, max_steps=0)
        asked = msgspec.structs.replace(asked, recipe=recipe, checkpoint_every=2)
        resume = None
        for number in range(given.kills + 1):
            life = msgspec.structs.replace(asked, attempt=number + 1, fence=number + 1, resume_from=resume)
            resume = one_life(life, folder / "spec.json", times)
            print(f"kill {number}: {times['in all'][-1][0]:.2f} s", file=sys.stderr, flush=True)
    for part, seconds in times.items():
        after = sorted(wall for wall, _ in seconds[1:])
        p95 = after[min(len(after) - 1, round(0.95 * len(after)))]
        busy = statistics.median(processor for _, processor in seconds[1:])
        print(
            f"{part}: p50 {statistics.median(after):.2f} s, p95 {p95:.2f} s ({after[0]:.2f}–{after[-1]:.2f}), "
            f"{busy:.2f} processor-seconds"
        )


if __name__ == "__main__":
    main()
