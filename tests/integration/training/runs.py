"""Conversations to teach and attempts carried out in this process, for the tests of training."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as parquet

from contracts.recipes import SHIPPED_MODEL, Recipe
from services.trainer.training import attempt
from services.trainer.training.channel import Channel
from services.trainer.training.protocol import AttemptSpec, Line, read_line

QUESTIONS = ("Where do I begin?", "Is it too late?", "My card is at 27 %.", "What is an index fund?", "Rent or buy?")
ANSWERS = (
    "Begin with one list: what comes in, what goes out.",
    "It is never too late, and ten dollars count.",
    "Pay that card first; nothing you can save into earns as much.\nThen breathe.",
    "A basket that holds a little of everything, for almost no fee.",
    "Let us put both on one page and look at the next five years.",
)


def talks(count: int) -> list[list[dict[str, str]]]:
    """Make conversations of one to three exchanges, all different."""
    made = []
    for number in range(count):
        turns: list[dict[str, str]] = []
        for turn in range(1 + number % 3):
            at = (number + turn) % 5
            turns += [{"role": "user", "content": f"({number}) {QUESTIONS[at]}"}]
            turns += [{"role": "assistant", "content": f"{ANSWERS[at]} That is answer {number}.{turn}."}]
        made.append(turns)
    return made


def write_split(path: Path, conversations: list[list[dict[str, str]]]) -> Path:
    """Write a split as the dataset service does."""
    ids = [f"e-{number}" for number in range(len(conversations))]
    parquet.write_table(pa.table({"id": ids, "messages": [json.dumps(each) for each in conversations]}), path)
    return path


def spec_in(folder: Path, model: Path) -> AttemptSpec:
    """Describe three passes over ten conversations, four a step: nine steps, a checkpoint every second."""
    return AttemptSpec(
        run_id="run-1",
        attempt=1,
        fence=1,
        recipe=Recipe(base_model=SHIPPED_MODEL, rank=4, alpha=8, epochs=3, batch_size=4, learning_rate=5e-3),
        model_dir=str(model),
        train=str(write_split(folder / "train.parquet", talks(10))),
        validation=str(write_split(folder / "validation.parquet", talks(13)[10:])),
        work_dir=str(folder / "work"),
        checkpoint_every=2,
        threads=2,
        micro_tokens=256,
    )


class Calm(NamedTuple):
    """A run that is over: what it was, and what it told."""

    spec: AttemptSpec
    lines: list[Line]

    @property
    def result(self) -> Path:
        """The folder of what it trained."""
        return Path(self.spec.work_dir) / "adapter"

    def checkpoint(self, step: int) -> Path:
        """The folder of a checkpoint it made."""
        return Path(self.spec.work_dir) / "checkpoints" / f"step-{step}"


def carry_out(
    spec: AttemptSpec, stop_asked: Callable[[], bool] = lambda: False, heard: io.BytesIO | None = None
) -> list[Line]:
    """Run an attempt in this process and return what it told."""
    heard = heard or io.BytesIO()
    attempt.run(spec, Channel(heard), stop_asked)  # type: ignore[arg-type]
    return [read_line(line) for line in heard.getvalue().splitlines()]


def changed(spec: AttemptSpec, **fields: Any) -> AttemptSpec:
    """Return the spec with some fields changed."""
    return msgspec.structs.replace(spec, **fields)
