"""What preference pairs teach the shipped model: ``python -m tests.bench.preferring [--pairs 32] [--learning-rate R]``.

The sample pairs, a warm reply and a cold one, are learned from with the usual settings of dpo, as in a run, but for the
last twelve, on which base and tuned are then compared. Nothing here has a goal: reward accuracy above one half says
that what was learned holds for other pairs, and a preferred reply that stays about as likely as it was says that the
steps are not too large.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.base import new_id
from contracts.jobs import JobSubmitted, Overrides
from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.db.database import now
from libs.embedded.home import Home
from services.evaluator.domain.statistics import Preference, reward_accuracy
from services.scheduler.domain.recipe import for_data, wished
from services.trainer.training.protocol import AttemptSpec, Finished, Progressed, read_line
from tests.bench import figures
from tests.bench.training import ROOT, THREADS

HELD_OUT = 12
SAMPLE = ROOT / "libs" / "samples" / "preferences.jsonl"
PART = 16
"""Steps at the beginning and the end that are set beside each other."""

Messages = list[dict[str, Any]]
Pair = tuple[Messages, ...]
"""The conversation with the preferred reply, and with the other one."""


def pairs(count: int) -> list[Pair]:
    """Return so many sample pairs, both as whole conversations."""
    lines = [json.loads(line) for line in SAMPLE.read_text().splitlines()[:count]]
    sides = ("preferred_output", "non_preferred_output")
    return [tuple([*line["input"]["messages"], *line[side]] for side in sides) for line in lines]


def split(path: Path, found: list[Pair]) -> Path:
    """Write pairs as the dataset service does."""
    names = [f"pair-{number}" for number in range(len(found))]
    preferred, rejected = ([json.dumps(each[side]) for each in found] for side in (0, 1))
    pq.write_table(pa.table({"id": names, "messages": preferred, "rejected": rejected}), path)
    return path


def usual(examples: int, learning_rate: float | None) -> Recipe:
    """Return the recipe that a job on so many pairs gets."""
    overrides = Overrides(objective="dpo", learning_rate=learning_rate)
    wish = JobSubmitted(
        tenant="bench", at=now(), job_id=new_id("ftjob"), base_model=SHIPPED_MODEL, dataset_id="ds",
        training_file="file", preset="balanced", overrides=overrides, seed=1,
    )  # fmt: skip
    return for_data(wished(wish), overrides, examples)


def trained(spec: AttemptSpec) -> tuple[Path, list[Progressed]]:
    """Train in a process of its own; return the adapter and every step."""
    file = Path(spec.work_dir) / "spec.json"
    file.parent.mkdir()
    file.write_bytes(msgspec.json.encode(spec))
    done = subprocess.run([sys.executable, "-m", "services.trainer.training", file], capture_output=True, cwd=ROOT)
    lines = [read_line(line) for line in done.stdout.splitlines()]
    if not isinstance(lines[-1], Finished):
        raise SystemExit(f"training did not finish: {lines[-1]}")
    steps = {each.step: each for each in lines if isinstance(each, Progressed)}
    return Path(lines[-1].path), list(steps.values())


def preferences(model: Path, adapter: Path, held_out: list[Pair]) -> tuple[list[Preference], int]:
    """Score held-out pairs with base and tuned, in float32; return them and the tokens of the preferred replies."""
    import torch

    from libs.lm.generate import load
    from libs.lm.score import token_losses

    torch.set_num_threads(THREADS)
    loaded = load(model, adapter, dtype="float32")
    encoded = [loaded.chat.encode(messages) for pair in held_out for messages in pair]
    base, tuned = ([float(each.sum()) for each in token_losses(loaded, encoded, tuned=it)] for it in (False, True))
    found = [
        Preference(str(at // 2), base[at], tuned[at], base[at + 1], tuned[at + 1]) for at in range(0, len(encoded), 2)
    ]
    return found, sum(each.trained_tokens for each in encoded[0::2])


def main() -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=32, help="that are learned from")
    parser.add_argument("--learning-rate", type=float, help="the usual one unless said otherwise")
    parser.add_argument("--model", type=Path, default=Home.default().models / SHIPPED_MODEL)
    asked = parser.parse_args()
    recipe = usual(asked.pairs, asked.learning_rate)
    found = pairs(asked.pairs + HELD_OUT)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        spec = AttemptSpec(
            run_id="run-bench",
            attempt=1,
            fence=1,
            recipe=recipe,
            model_dir=str(asked.model),
            train=str(split(folder / "train.parquet", found[:-HELD_OUT])),
            work_dir=str(folder / "work"),
            checkpoint_every=10_000,
            threads=THREADS,
        )
        adapter, steps = trained(spec)
        scored, tokens = preferences(asked.model, adapter, found[-HELD_OUT:])
    print(
        f"{len(steps)} steps of {recipe.batch_size} pairs at {recipe.learning_rate:g}, beta {recipe.beta:g}, "
        f"{statistics.median(each.tokens_per_second for each in steps):.0f} tokens/s"
    )
    for name, part in (("first", steps[:PART]), ("last", steps[-PART:])):
        print(
            f"{name} {len(part)} steps: loss {_mean(part, 'loss'):.3f}, margin {_mean(part, 'reward_margin'):.3f}, "
            f"reward accuracy {_mean(part, 'reward_accuracy'):.2f}"
        )
    accuracy = reward_accuracy(scored)
    margin = recipe.beta * statistics.fmean(each.gain for each in scored)
    moved = sum(each.base_preferred - each.tuned_preferred for each in scored) / tokens
    print(
        f"held out, {len(scored)} pairs: reward accuracy {accuracy:.2f}, margin {margin:.3f}, preferred replies "
        f"{moved:+.3f} nats a token"
    )
    figures.note("preferring", "reward accuracy on held-out pairs", [100 * accuracy], "%")


def _mean(steps: list[Progressed], name: str) -> float:
    return statistics.fmean(getattr(each, name) for each in steps)


if __name__ == "__main__":
    main()
