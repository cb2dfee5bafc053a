"""Training speed and memory beside others, in turns: ``python -m tests.bench.training [--rounds 3] [--steps 3]``.

On the same conversations, threads and machine: our child process with the balanced recipe, TRL packed and tuned, and
TRL's own defaults, both by a plain script that gets our very tokens and labels. ``--rivals`` adds LLaMA-Factory, as its
examples have it and with its documented ways to be faster, in an environment of its own that is made here;
``--no-trl`` leaves TRL out, ``--four-bits`` adds ours on a base in four bits. ``--exchanges 1`` cuts every conversation
after its first exchange: ``--rivals --no-trl --exchanges 1`` takes some three minutes a round. ``--device cuda``
is the same on a GPU, with more of it in a step and a pass (``SHAPES``). The first step of each is left out. Matrix
products and memory are measured in the same run, to say what share of the machine a contender reaches: a LoRA step
needs some 4 × parameters FLOP a token (no weight gradients for the base).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.embedded.home import Home
from libs.lm.chat import ChatFormat
from libs.lm.models import known
from services.trainer.training.protocol import AttemptSpec, Finished, Progressed, read_line
from tests.bench import figures, limits, rivals

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "libs" / "samples" / "conversations.jsonl"


class Shape(NamedTuple):
    """How much a device is given at once: examples to a step of ours, for which others take ``passes`` over ``rows`` of
    ``row`` tokens.
    """

    examples: int
    row: int
    rows: int
    passes: int


SHAPES = {"cpu": Shape(8, 768, 1, 4), "cuda": Shape(50, 4096, 8, 1)}
EXAMPLES = SHAPES["cpu"].examples
THREADS = psutil.cpu_count() or 2
OURS, TUNED, DEFAULTS = "Woodshed", "TRL tuned and packed", "TRL defaults"
FOUR_BITS = "Woodshed, base in four bits"
FACTORY, FACTORY_BEST = "LLaMA-Factory, its example", "LLaMA-Factory at its best"

Figures = dict[str, float]


class Data(NamedTuple):
    """The same conversations in the three shapes that the contenders read."""

    split: Path
    encoded: Path
    lessons: Path


def conversations(path: Path, count: int = 100, exchanges: int = 0) -> Path:
    """Write the first ``count`` sample conversations, each cut after ``exchanges`` of them, as a training split."""
    ids, said = zip(*_rows(count, exchanges), strict=True)
    pq.write_table(pa.table({"id": ids, "messages": [json.dumps(each) for each in said]}), path)
    return path


def _rows(count: int, exchanges: int) -> list[tuple[str, list[dict[str, Any]]]]:
    rows = [json.loads(line) for line in SAMPLE.read_text().splitlines()[:count]]
    return [(row["metadata"]["id"], list(_cut(row["messages"], exchanges))) for row in rows]


def _cut(messages: Sequence[dict[str, Any]], exchanges: int) -> Iterator[dict[str, Any]]:
    """Yield the turns up to the last reply that stays; all of them where ``exchanges`` is 0."""
    replies = 0
    for each in messages:
        yield each
        replies += each["role"] == "assistant"
        if exchanges and replies == exchanges:
            return


def data_in(folder: Path, exchanges: int) -> Data:
    """Write the conversations for everybody; what TRL gets is tokenised, with our labels."""
    rows = _rows(100, exchanges)
    chat = ChatFormat.load(Home.default().models / SHIPPED_MODEL)
    encoded = [chat.encode(said, Recipe(base_model=SHIPPED_MODEL).max_length) for _, said in rows]
    data = Data(folder / "train.parquet", folder / "encoded.parquet", folder / "lessons.json")
    conversations(data.split, exchanges=exchanges)
    labels = [[-100, *each.labels[1:]] for each in encoded]
    pq.write_table(pa.table({"input_ids": [each.ids for each in encoded], "labels": labels}), data.encoded)
    data.lessons.write_text(json.dumps([{"messages": said} for _, said in rows]))
    print(f"{len(rows)} conversations, {statistics.fmean(len(each.ids) for each in encoded):.0f} tokens on average")
    return data


def spec(train: Path, folder: Path, steps: int, device: str = "cpu", quantization: str = "none") -> AttemptSpec:
    """Describe our attempt: the balanced preset, as many threads as there are cores."""
    folder.mkdir(parents=True)
    return AttemptSpec(
        run_id="run-bench",
        attempt=1,
        fence=1,
        recipe=Recipe(
            base_model=SHIPPED_MODEL, batch_size=SHAPES[device].examples, max_steps=steps + 1, quantization=quantization
        ),
        model_dir=str(Home.default().models / SHIPPED_MODEL),
        train=str(train),
        work_dir=str(folder),
        checkpoint_every=10_000,
        threads=THREADS,
        device="cpu" if device == "cpu" else "cuda:0",
    )


def ours(data: Data, folder: Path, steps: int, device: str, quantization: str = "none") -> Figures:
    """Train with our child process; rates are of all steps but the first."""
    asked = spec(data.split, folder, steps, device, quantization)
    path = folder / "spec.json"
    path.write_bytes(msgspec.json.encode(asked))
    command = [sys.executable, "-m", "services.trainer.training", str(path)]
    seen: list[tuple[float, Progressed]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as child:
        assert child.stdout
        for raw in child.stdout:
            if isinstance(line := read_line(raw), Progressed):
                seen.append((time.perf_counter(), line))
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    (began, first), (ended, last) = seen[0], seen[-1]
    return {
        "tokens_per_second": (last.tokens - first.tokens) / (ended - began),
        "taught_per_second": (last.trained_tokens - first.trained_tokens) / (ended - began),
        "peak_bytes": last.device_bytes or used.ru_maxrss * 1024,
    }


def alone(asked: AttemptSpec) -> float:
    """Carry an attempt out by our child process alone; return its seconds."""
    path = Path(asked.work_dir) / "spec.json"
    path.write_bytes(msgspec.json.encode(asked))
    command = [sys.executable, "-m", "services.trainer.training", str(path)]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    [finished] = [line for line in map(read_line, done.stdout.splitlines()) if isinstance(line, Finished)]
    return finished.seconds


def plain(script: str, *options: str, python: Callable[[], Path] = lambda: Path(sys.executable)) -> "Contender":
    """Train with a plain script, run by the Python that has what it needs."""

    def run(data: Data, folder: Path, steps: int, device: str) -> Figures:
        train = data.encoded if script == "plain_trl.py" else data.lessons
        model = Home.default().models / SHIPPED_MODEL
        common = ["--steps", str(steps + 1), "--threads", str(THREADS), "--device", device, *options]
        command = [python(), ROOT / "tests" / "bench" / script, model, train, folder, *common]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise SystemExit(f"{script} {' '.join(options)} ended with code {done.returncode}:\n{done.stderr[-3000:]}")
        found: Figures = json.loads(done.stdout.splitlines()[-1])
        return found

    return run


Contender = Callable[[Data, Path, int, str], Figures]


def usual(device: str) -> dict[str, Contender]:
    """Return ours and TRL as they suit a device."""
    _, row, rows, passes = map(str, SHAPES[device])
    tuned = plain("plain_trl.py", "--row", row, "--rows", rows, "--accumulate", passes)
    return {OURS: ours, TUNED: tuned, DEFAULTS: plain("plain_trl.py", "--defaults")}


def others(device: str) -> dict[str, Contender]:
    """Return the rivals as they suit a device."""
    _, row, rows, passes = map(str, SHAPES[device])
    python = partial(rivals.llama_factory, device)
    best = ("--best", "--row", row, "--rows", rows, "--accumulate", passes)
    return {
        FACTORY: plain("plain_llamafactory.py", python=python),
        FACTORY_BEST: plain("plain_llamafactory.py", *best, python=python),
    }


def measure(contenders: dict[str, Contender], asked: argparse.Namespace) -> dict[str, list[Figures]]:
    """Let the contenders take turns; return every round of each."""
    found: dict[str, list[Figures]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as temporary:
        data = data_in(Path(temporary), asked.exchanges)
        for number in range(asked.rounds):
            for turn, (name, run) in enumerate(contenders.items()):
                result = run(data, Path(temporary) / f"{number}-{turn}", asked.steps, asked.device)
                found[name].append(result)
                print(f"round {number + 1}  {name:28} {result['tokens_per_second']:6.0f} tokens/s", file=sys.stderr)
    return found


def table(found: dict[str, list[Figures]], most: dict[str, float]) -> str:
    """Return medians, spread and shares of the machine as a Markdown table."""
    rows = [
        "| | tokens/s, median (least–most) | taught tokens/s | of the bf16 products | peak memory |",
        "|---|---|---|---|---|",
    ]
    for name, results in found.items():
        low, rate, high = _spread(results, "tokens_per_second")
        share = rate * _flop_a_token() / most["flops_bfloat16"]
        _, taught, _ = _spread(results, "taught_per_second")
        memory = _spread(results, "peak_bytes")[1] / 1e9
        rows.append(f"| {name} | {rate:.0f} ({low:.0f}–{high:.0f}) | {taught:.0f} | {share:.1%} | {memory:.1f} GB |")
    return "\n".join(rows)


def picture(found: dict[str, list[Figures]], title: str) -> str:
    """Draw the rates of all contenders."""
    bars = []
    for name, results in found.items():
        low, rate, high = _spread(results, "tokens_per_second")
        bars.append(figures.Bar(name, rate, low, high, f"{rate:.0f}", True if name == OURS else None))
    return figures.draw(title, bars)


def tell(found: dict[str, list[Figures]], most: dict[str, float], what: str) -> None:
    """Keep our figures beside their goals, as ratios of the same round."""

    def ratios(other: str, figure: str) -> list[float]:
        return [mine[figure] / theirs[figure] for mine, theirs in zip(found[OURS], found[other], strict=True)]

    def keep(name: str, measured: list[float], goal: float, *, less: bool = False) -> None:
        figures.note("training", f"{name}{what}", measured, "×", goal=goal, less_is_better=less)

    if DEFAULTS in found:
        keep("speed of TRL's defaults", ratios(DEFAULTS, "tokens_per_second"), 2.5)
        keep("speed of TRL tuned", ratios(TUNED, "tokens_per_second"), 1.4)
        keep("taught tokens of TRL's defaults", ratios(DEFAULTS, "taught_per_second"), 1.8)
        keep("memory of TRL's defaults", ratios(DEFAULTS, "peak_bytes"), 0.55, less=True)
    for name in [each for each in (FACTORY, FACTORY_BEST) if each in found]:
        keep(f"speed of {name}", ratios(name, "tokens_per_second"), 2.5)
    shares = [each["tokens_per_second"] * _flop_a_token() / most["flops_bfloat16"] for each in found[OURS]]
    figures.note("training", f"share of bf16 products{what}", [100 * each for each in shares], "%", goal=8)


def _spread(results: Sequence[Figures], figure: str) -> tuple[float, float, float]:
    values = [each[figure] for each in results]
    return min(values), statistics.median(values), max(values)


def _flop_a_token() -> int:
    return 4 * known(SHIPPED_MODEL).parameters


def main(arguments: Any = None) -> None:
    """Measure, print the table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="3 on a CPU, 40 on a GPU unless said otherwise")
    parser.add_argument("--exchanges", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rivals", action="store_true")
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--four-bits", action="store_true")
    asked = parser.parse_args(arguments)
    asked.steps = asked.steps or (3 if asked.device == "cpu" else 40)
    contenders: dict[str, Contender] = {OURS: ours} if asked.no_trl else usual(asked.device)
    if asked.four_bits:
        contenders[FOUR_BITS] = partial(ours, quantization="nf4")
    if asked.rivals:
        contenders |= others(asked.device)
    most = limits.measured(asked.device, THREADS)
    found = measure(contenders, asked)
    print(table(found, most))
    print(
        f"products {most['flops_bfloat16'] / 1e12:.2f} TFLOP/s in bfloat16, "
        f"{most['flops_float32'] / 1e12:.2f} in float32; "
        f"memory read at {most['read_bytes'] / 1e9:.1f} GB/s, copied at {most['copy_bytes'] / 1e9:.1f}"
    )
    what = f", {asked.exchanges} exchanges" if asked.exchanges else ""
    tell(found, most, what)
    rivals.FOLDER.mkdir(exist_ok=True)
    drawn = rivals.FOLDER / "training.svg"
    drawn.write_text(picture(found, f"Training, tokens a second ({asked.device}, {THREADS} threads{what})"))
    print(f"Picture: {drawn.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
