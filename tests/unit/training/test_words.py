"""What the child says and how it counts: protocol, plan, curve and failures."""

import errno
from pathlib import Path

import msgspec
import pytest

from contracts.recipes import Recipe
from libs.lm.chat import ChatError
from libs.lm.models import UnknownModel
from services.trainer.training import metrics
from services.trainer.training.channel import Channel
from services.trainer.training.checkpoints import BadCheckpoint, DiskFull
from services.trainer.training.data import NothingToLearn
from services.trainer.training.failures import explain
from services.trainer.training.metrics import Point
from services.trainer.training.plan import steps_of, warmup_of
from services.trainer.training.protocol import Failed, Progressed, Staged, read_line

RECIPE = Recipe(base_model="SmolLM2-135M-Instruct", epochs=3, batch_size=16)


@pytest.mark.parametrize(("examples", "steps"), [(16, 3), (17, 6), (96, 18), (1, 3)])
def test_steps_are_counted_in_examples(examples: int, steps: int) -> None:
    assert steps_of(RECIPE, examples) == steps


def test_the_cap_never_adds_steps() -> None:
    capped = msgspec.structs.replace(RECIPE, max_steps=5)
    assert (steps_of(capped, 96), steps_of(capped, 16)) == (5, 3)


def test_warm_up_is_its_share_of_the_steps_rounded_up() -> None:
    assert (warmup_of(RECIPE, 18), warmup_of(RECIPE, 1000)) == (1, 30)


def test_a_curve_comes_back_exactly(tmp_path: Path) -> None:
    points = [
        Point(
            step=step,
            train_loss=1 / 3,
            eval_loss=loss,
            lr=2e-4 / 7,
            grad_norm=0.1,
            token_accuracy=0.5,
            tokens=10,
            trained_tokens=3,
        )
        for step, loss in ((1, None), (2, 2.5))
    ]
    metrics.write(tmp_path, points)
    assert metrics.read(tmp_path) == points


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NothingToLearn("no replies"), "nothing_to_learn"),
        (ChatError("turn 3"), "user_data"),
        (BadCheckpoint("optimizer.pt"), "bad_checkpoint"),
        (DiskFull("full"), "disk_full"),
        (UnknownModel("none"), "unknown_model"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out_of_memory"),
        (RuntimeError("could not create a primitive"), "out_of_memory"),
        (RuntimeError("[enforce fail at inline_container.cc:626] . unexpected pos 64 vs 0"), "disk_full"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (ZeroDivisionError("division by zero"), "bug"),
    ],
)
def test_every_failure_has_its_kind_and_a_sentence(error: Exception, kind: str) -> None:
    told = explain(error)
    assert (told.kind, told.error) == (kind, type(error).__name__)
    assert len(told.message) >= len(str(error) if kind in ("user_data", "nothing_to_learn") else "")
    assert told.message


def test_a_line_comes_back_as_it_was_told() -> None:
    line = Failed(kind="bug", error="E", message="m\nn", traceback="t")
    assert read_line(msgspec.json.encode(line)) == line


class _Pipe:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.lines.append(data)

    def flush(self) -> None: ...


def _progress(step: int) -> Progressed:
    return Progressed(
        step=step,
        total_steps=100,
        epoch=0.1,
        loss=1.0,
        learning_rate=1e-4,
        grad_norm=0.1,
        tokens=1,
        trained_tokens=1,
        tokens_per_second=1.0,
        samples_per_second=1.0,
        eta_seconds=1.0,
    )


def test_a_burst_of_progress_is_thinned_but_the_last_step_is_told() -> None:
    pipe = _Pipe()
    channel = Channel(pipe)  # type: ignore[arg-type]
    for step in range(1, 101):
        channel.progress(_progress(step))
    told = [read_line(line) for line in pipe.lines]
    assert told == [_progress(1), _progress(100)]


def test_a_stage_says_when_it_began() -> None:
    pipe = _Pipe()
    Channel(pipe).stage("saving")  # type: ignore[arg-type]
    told = read_line(pipe.lines[0])
    assert isinstance(told, Staged)
    assert (told.stage, told.seconds >= 0) == ("saving", True)
