"""Training speed and memory against TRL, interleaved: ``python -m tests.bench.training [--rounds 3] [--steps 4]``.

Three contenders on the same conversations, threads and machine: our child process with the balanced recipe, TRL
packed and tuned in a plain script, and TRL's own defaults in the same script. The first step of each is left out.
Ours trains on every reply of a conversation, the script on the last: so tokens per second are compared, not losses.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.embedded.home import Home
from services.trainer.training.protocol import AttemptSpec, Finished, Progressed, read_line

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "libs" / "samples" / "conversations.jsonl"
PLAIN = ROOT / "tests" / "bench" / "plain_trl.py"
EXAMPLES = 8

Figures = dict[str, float]


def conversations(path: Path, count: int = 100) -> Path:
    """Write the first ``count`` sample conversations as a training split."""
    rows = [json.loads(line) for line in SAMPLE.read_text().splitlines()[:count]]
    messages = [json.dumps(row["messages"]) for row in rows]
    pq.write_table(pa.table({"id": [row["metadata"]["id"] for row in rows], "messages": messages}), path)
    return path


def spec(train: Path, folder: Path, steps: int) -> AttemptSpec:
    """Describe our attempt: the balanced preset, as many threads as there are cores."""
    folder.mkdir(parents=True)
    return AttemptSpec(
        run_id="run-bench",
        attempt=1,
        fence=1,
        recipe=Recipe(base_model=SHIPPED_MODEL, batch_size=EXAMPLES, max_steps=steps + 1),
        model_dir=str(Home.default().models / SHIPPED_MODEL),
        train=str(train),
        work_dir=str(folder),
        checkpoint_every=1000,
        threads=psutil.cpu_count() or 2,
    )


def ours(train: Path, folder: Path, steps: int) -> Figures:
    """Train with our child process; rates are of all steps but the first."""
    asked = spec(train, folder, steps)
    path = folder / "spec.json"
    path.write_bytes(msgspec.json.encode(asked))
    command = [sys.executable, "-m", "services.trainer.training", str(path)]
    seen: list[tuple[float, int]] = []
    memory = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as child:
        assert child.stdout
        for raw in child.stdout:
            line = read_line(raw)
            if isinstance(line, Progressed):
                seen.append((time.perf_counter(), line.tokens))
                memory = max(memory, line.rss_bytes)
            elif isinstance(line, Finished):
                seconds = line.seconds
    tokens, elapsed = seen[-1][1] - seen[0][1], seen[-1][0] - seen[0][0]
    return {"tokens_per_second": tokens / elapsed, "peak_rss_bytes": memory, "seconds": seconds}


def plain(*options: str) -> Callable[[Path, Path, int], Figures]:
    """Train with the plain script."""

    def run(train: Path, folder: Path, steps: int) -> Figures:
        model = str(Home.default().models / SHIPPED_MODEL)
        threads = str(psutil.cpu_count() or 2)
        command = [
            sys.executable,
            PLAIN,
            model,
            train,
            folder,
            "--steps",
            str(steps + 1),
            "--threads",
            threads,
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found: Figures = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


CONTENDERS: dict[str, Callable[[Path, Path, int], Figures]] = {
    "Woodshed": ours,
    "TRL tuned and packed": plain("--row", "768", "--accumulate", "4"),
    "TRL defaults": plain("--defaults"),
}


def measure(rounds: int, steps: int) -> dict[str, list[Figures]]:
    """Let the contenders take turns; return every round of each."""
    found: dict[str, list[Figures]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as temporary:
        train = conversations(Path(temporary) / "train.parquet")
        for number in range(rounds):
            for name, run in CONTENDERS.items():
                result = run(train, Path(temporary) / f"{number}-{len(name)}", steps)
                found[name].append(result)
                print(f"round {number + 1}  {name:22} {result['tokens_per_second']:6.0f} tokens/s", file=sys.stderr)
    return found


def table(found: dict[str, list[Figures]]) -> str:
    """Return medians, spread and ratios as a Markdown table."""

    def middle(name: str, figure: str) -> float:
        return statistics.median(each[figure] for each in found[name])

    rows = ["| | tokens/s, median (least–most) | × TRL defaults | peak memory |", "|---|---|---|---|"]
    slowest = middle("TRL defaults", "tokens_per_second")
    for name, results in found.items():
        rates = sorted(each["tokens_per_second"] for each in results)
        memory = middle(name, "peak_rss_bytes") / 1e9
        rate = middle(name, "tokens_per_second")
        rows.append(
            f"| {name} | {rate:.0f} ({rates[0]:.0f}–{rates[-1]:.0f}) | {rate / slowest:.2f} | {memory:.1f} GB |"
        )
    return "\n".join(rows)


def main(arguments: Any = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    asked = parser.parse_args(arguments)
    print(table(measure(asked.rounds, asked.steps)))


if __name__ == "__main__":
    main()
