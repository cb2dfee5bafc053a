"""What speed costs in quality: ``python -m tests.bench.quality [--seeds 1 2 3] [--examples 48] [--model FOLDER]``.

Each seed trains the same conversations twice: as a run does (packed, in the hardware's number format, the head on
taught positions), and as the reference (float32, each conversation alone through transformers' own forward and loss).
Then both adapters' held-out losses are measured in float32 on one base. Goal: within 1 % after the same examples.
Prints one line a seed, with the base's own loss, from which both set out. On a machine without bfloat16 both train in
float32, and only the packing differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.embedded.home import Home
from services.trainer.training.protocol import AttemptSpec, Finished, read_line
from tests.bench import figures
from tests.bench.training import ROOT, THREADS, conversations

HELD_OUT = 12
WITHIN = 1.0


def trained(spec: AttemptSpec, folder: Path, *, reference: bool) -> Path:
    """Train in a process of its own; return the adapter's folder."""
    work = folder / ("reference" if reference else "ours")
    work.mkdir(parents=True)
    file = work / "spec.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(spec, work_dir=str(work))))
    module = ["tests.bench.quality", "--reference"] if reference else ["services.trainer.training"]
    done = subprocess.run([sys.executable, "-m", *module, str(file)], capture_output=True, cwd=ROOT)
    last = read_line(done.stdout.splitlines()[-1])
    if not isinstance(last, Finished):
        raise SystemExit(f"training did not finish: {last}")
    return Path(last.path)


def reference(file: Path) -> int:
    """Be the reference: the training process with everything fast about it taken out."""
    from services.trainer.training import __main__ as child
    from services.trainer.training import attempt, model
    from services.trainer.training.families import Way, way_of

    def plainly(folder: Path, longest: int) -> Way:
        known = way_of(folder, longest)
        return msgspec.structs.replace(known, family=None, why="This is the reference.")

    attempt.dtype_for = lambda device: "float32"
    attempt.way_of = model.way_of = plainly
    sys.argv[1:] = [str(file)]
    return child.main()


def held_out_losses(model_dir: Path, adapters: list[Path], file: Path) -> list[float]:
    """Return the mean loss a taught token of held-out conversations in nats, in float32: of adapters, then the base."""
    command = [sys.executable, "-m", "tests.bench.quality", "--score", str(model_dir), str(file), *map(str, adapters)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found: list[float] = json.loads(done.stdout)
    return found


def score(model_dir: Path, file: Path, adapters: list[Path]) -> list[float]:
    """Measure here."""
    import numpy as np
    import pyarrow.parquet as parquet
    import torch

    from libs.lm.generate import load
    from libs.lm.score import token_losses

    torch.set_num_threads(THREADS)
    said = [json.loads(each) for each in parquet.read_table(file)["messages"].to_pylist()[-HELD_OUT:]]
    losses = []
    for adapter in adapters:
        loaded = load(model_dir, adapter, dtype="float32")
        encoded = [loaded.chat.encode(each) for each in said]
        losses.append(float(np.concatenate(token_losses(loaded, encoded, tuned=True)).mean()))
    losses.append(float(np.concatenate(token_losses(loaded, encoded, tuned=False)).mean()))
    return losses


def main() -> None:
    """Compare, print and keep the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--examples", type=int, default=48)
    parser.add_argument("--model", type=Path, default=Home.default().models / SHIPPED_MODEL)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--score", type=Path, nargs="+")
    asked = parser.parse_args()
    if asked.reference:
        sys.exit(reference(asked.reference))
    if asked.score:
        print(json.dumps(score(asked.score[0], asked.score[1], asked.score[2:])))
        return
    apart = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train = conversations(folder / "train.parquet", asked.examples, exchanges=1)
        held_out = conversations(folder / "all.parquet", asked.examples + HELD_OUT, exchanges=1)
        for seed in asked.seeds:
            spec = AttemptSpec(
                run_id="run-bench",
                attempt=1,
                fence=1,
                recipe=Recipe(base_model=SHIPPED_MODEL, batch_size=4, epochs=1, seed=seed),
                model_dir=str(asked.model),
                train=str(train),
                work_dir="",
                checkpoint_every=10_000,
                threads=THREADS,
            )
            adapters = [trained(spec, folder / str(seed), reference=each) for each in (False, True)]
            ours, theirs, base = held_out_losses(asked.model, adapters, held_out)
            apart.append(100 * abs(ours / theirs - 1))
            print(
                f"seed {seed}: {ours:.4f} nats, reference {theirs:.4f}, {apart[-1]:.2f} % apart (base {base:.4f})",
                flush=True,
            )
    figures.note("quality", "held-out loss beside float32, apart", [max(apart)], "%", goal=WITHIN, less_is_better=True)


if __name__ == "__main__":
    main()
