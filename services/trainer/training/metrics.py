"""The curve of a run: one line an optimiser step, kept beside the adapter and inside every checkpoint.

Its last line also carries the counters that outlive an attempt, so a resumed run goes on counting where it stood.
"""

import csv
from pathlib import Path

import msgspec
from msgspec import Struct

FILE = "metrics.csv"


class Point(Struct, frozen=True, kw_only=True):
    """One optimiser step. Losses in nats a taught token, or a pair; ``tokens`` and ``trained_tokens`` since step 0.

    Rewards are there only where pairs are learned from: how far the preferred reply gained on the other one since the
    base model, in nats × beta, and the share of pairs in which it gained at all.
    """

    step: int
    train_loss: float
    eval_loss: float | None
    lr: float
    grad_norm: float
    token_accuracy: float
    tokens: int
    trained_tokens: int
    eval_token_accuracy: float | None = None
    reward_margin: float | None = None
    reward_accuracy: float | None = None


REWARDS = ("reward_margin", "reward_accuracy")


def write(folder: Path, points: list[Point]) -> None:
    """Write the curve as CSV with a header; what was not validated is empty, rewards nobody has are left out."""
    rewarded = any(each.reward_margin is not None for each in points)
    columns = [name for name in Point.__struct_fields__ if rewarded or name not in REWARDS]
    with (folder / FILE).open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(columns)
        rows.writerows([getattr(each, name) for name in columns] for each in points)


def read(folder: Path) -> list[Point]:
    """Read a curve back, exactly as it was."""
    with (folder / FILE).open(newline="") as stream:
        rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(stream)]
    return msgspec.convert(rows, list[Point], strict=False)
