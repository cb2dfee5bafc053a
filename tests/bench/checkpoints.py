"""What saving costs a training: ``python -m tests.bench.checkpoints [--method lora|full] [--steps 8] [--batch 1]``.

The shipped model trains in this process and saves a few times, far oftener than a run would. Named for each save: the
copy (training stands still for it), and in the thread beside training: writing, bringing to disk, hashing, naming.
What a save costs is the time training stood still and the thread's processor seconds, the most that it can have taken
from training besides. The overhead is that cost over the time between two saves of a long run: as the control plans it
before anything is measured, and as the run itself decides it from the steps and saves measured here.
"""

import argparse
import hashlib
import io
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from contracts.jobs import Estimate
from services.trainer.domain.saving import affordable, expected_cost, interval, rule_for
from services.trainer.training import attempt, checkpoints, state
from services.trainer.training.channel import Channel
from services.trainer.training.protocol import Progressed, Saved, read_line
from tests.bench.training import conversations, spec

MEAN_SECONDS_BETWEEN_LOSSES = 3600.0
"""The control's default."""
LONG = 10_000
PARTS: dict[str, list[float]] = defaultdict(list)


def timed(part: str, inner: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function so that its every call is noted under ``part``."""

    def call(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return inner(*arguments, **named)
        finally:
            PARTS[part].append(time.perf_counter() - began)

    return call


def watch_parts() -> None:
    """Note how long each part of a save takes."""
    state.write_weights = timed("write weights", state.write_weights)
    torch.save = timed("write the rest", torch.save)
    checkpoints._sync = timed("fsync", checkpoints._sync)
    hashlib.file_digest = timed("hash", hashlib.file_digest)  # type: ignore[assignment]
    Path.rename = timed("rename", Path.rename)  # type: ignore[method-assign]


class Timed(io.BytesIO):
    """Keeps when each line was told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[float, Any]] = []

    def write(self, data: Any) -> int:
        self.heard.append((time.perf_counter(), read_line(data)))
        return len(data)


def measure(method: str, steps: int, batch: int, every: int, at_most: float, folder: Path) -> None:
    """Train and print the table."""
    asked = spec(conversations(folder / "train.parquet"), folder / "work", steps - 1)
    recipe = msgspec.structs.replace(asked.recipe, method=method, batch_size=batch, max_steps=steps)
    stream = Timed()
    until = time.perf_counter() + at_most
    watch_parts()
    attempt.run(
        msgspec.structs.replace(asked, recipe=recipe, checkpoint_every=every),
        Channel(stream),  # type: ignore[arg-type]
        lambda: time.perf_counter() > until,
    )
    saved = [line for _, line in stream.heard if isinstance(line, Saved)]
    progress = [at for at, line in stream.heard if isinstance(line, Progressed)]
    steps = len(progress)
    trained = (progress[-1] - progress[0]) * steps / (steps - 1)
    blocked = [each.blocked for each in saved]
    print(f"{method}: {steps} steps in {trained:.1f} s, saved every {every} steps, {len(saved)} times")
    print(f"size {saved[-1].size / 1e6:.0f} MB; whole after {spread([each.seconds for each in saved])}")
    print(f"training stood still for {spread(blocked)}; thread busy for {spread([each.busy for each in saved])}")
    for part, times in PARTS.items():
        print(f"  {part}: {sum(times) / len(saved):.3f} s a save")
    cost, step = statistics.fmean(each.blocked + each.busy for each in saved), trained / steps
    rule = rule_for(MEAN_SECONDS_BETWEEN_LOSSES)
    planned = interval(long_run(step), MEAN_SECONDS_BETWEEN_LOSSES, expected_cost(recipe))
    for who, chosen in (("planned", planned), ("decided by the run", affordable(planned, LONG, cost, step, rule))):
        seconds = chosen * step
        print(f"{who}: a save every {chosen} steps ({seconds:.0f} s) takes at most {cost / seconds:.2%} of them")


def long_run(seconds_a_step: float) -> Estimate:
    """Estimate a run of ten thousand steps."""
    return Estimate(
        seconds=LONG * seconds_a_step, seconds_low=0, seconds_high=0, cost=0, currency="EUR", memory_bytes=0,
        steps=LONG, tokens=0,
    )  # fmt: skip


def spread(times: list[float]) -> str:
    """Return median, least and most of some seconds."""
    return f"{statistics.median(times):.3f} s ({min(times):.3f}–{max(times):.3f})"


def main() -> None:
    """Measure one method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=("lora", "full"), default="lora")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--at-most", type=float, default=200.0, help="seconds after which it stops, saving once more")
    parser.add_argument("--every", type=int, default=3, help="steps between the saves that are measured")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(asked.method, asked.steps, asked.batch, asked.every, asked.at_most, Path(folder))


if __name__ == "__main__":
    main()
