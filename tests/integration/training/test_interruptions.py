"""Stopped by SIGTERM at any moment, resumed, and the same bytes: both methods, workers, packed rows, damaged states."""

import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.lm.adapters import CONFIG
from services.trainer.training import checkpoints, metrics
from services.trainer.training import model as model_module
from services.trainer.training.checkpoints import MANIFEST, WEIGHTS
from services.trainer.training.protocol import AttemptSpec, Finished, Line, Stopped
from tests.integration.training.runs import Calm, carry_out, changed

ROOT = Path(__file__).parents[3]
CHECKPOINTS = "checkpoints"


@pytest.fixture(params=["lora", "full"])
def spec(spec: AttemptSpec, request: pytest.FixtureRequest) -> AttemptSpec:
    """Every step is three packed rows or more: gradients add up over forward passes."""
    recipe = msgspec.structs.replace(spec.recipe, method=request.param, learning_rate=2e-3)
    return changed(spec, recipe=recipe, micro_tokens=128)


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Calm]:
    """The run of each method that was trained already."""
    return {}


@pytest.fixture
def quiet(spec: AttemptSpec, undisturbed: dict[str, Calm], tmp_path_factory: pytest.TempPathFactory) -> Calm:
    """The same run when nobody interrupts it, trained once for all tests: who reads it leaves it as it is."""
    method = spec.recipe.method
    if method not in undisturbed:
        calm = changed(spec, work_dir=str(tmp_path_factory.mktemp(method) / "work"))
        undisturbed[method] = Calm(calm, carry_out(calm))
    return undisturbed[method]


@pytest.fixture
def whole(quiet: Calm) -> list[bytes]:
    """What that run leaves."""
    return _left(quiet.spec)


@pytest.fixture
def asked() -> Iterator[list[int]]:
    """The child's own way of hearing SIGTERM."""
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    yield heard
    signal.signal(signal.SIGTERM, before)


def _left(spec: AttemptSpec) -> list[bytes]:
    folder = Path(spec.work_dir) / "adapter"
    return [(folder / name).read_bytes() for name in (WEIGHTS[spec.recipe.method], metrics.FILE)]


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class _AtStage(io.BytesIO):
    """Sends SIGTERM when the child says that it enters a stage, as a runner would that had just read the line."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self._says = f'"stage":"{stage}"'.encode()

    def write(self, data: Any) -> int:
        if self._says in data:
            _terminate()
        return super().write(data)


def _carry_out(spec: AttemptSpec, moment: str, asked: list[int]) -> Line:
    return carry_out(spec, lambda: bool(asked), _AtStage(moment))[-1]


def _at_call(number: int, inner: Any) -> Any:
    calls: list[int] = []

    def call(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            _terminate()
        return inner(*arguments, **named)

    return call


def _at_moment(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGTERM inside step 2's second forward pass, in the first evaluation, or while step 2 is being written."""
    from services.trainer.training.tuner import Tuner

    if moment == "mid_step":
        monkeypatch.setattr(model_module, "row_loss", _at_call(5, model_module.row_loss))
    elif moment == "evaluation":
        monkeypatch.setattr(Tuner, "evaluate", _at_call(1, Tuner.evaluate))
    elif moment == "writing":
        monkeypatch.setattr(checkpoints, "commit", _at_call(1, checkpoints.commit))


@pytest.mark.parametrize(
    ("spec", "moment"),
    [
        *itertools.product(["lora"], ["training", "mid_step", "evaluation", "writing"]),
        *itertools.product(["full"], ["mid_step", "writing"]),
    ],
    indirect=["spec"],
)
def test_asked_to_stop_at_any_moment_a_run_loses_no_step_and_no_byte(
    spec: AttemptSpec, whole: list[bytes], moment: str, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        _at_moment(moment, patched)
        stopped = _carry_out(spec, moment, asked)
    assert isinstance(stopped, Stopped)
    assert stopped.path
    assert checkpoints.verify(Path(stopped.path)).step == stopped.step
    asked.clear()
    resumed = carry_out(changed(spec, attempt=2, fence=2, resume_from=stopped.path))
    assert isinstance(resumed[-1], Finished)
    assert _left(spec) == whole


@pytest.mark.parametrize("spec", ["lora"], indirect=True)
@pytest.mark.parametrize("stage", ["preprocessing", "loading_model"])
def test_asked_to_stop_before_the_first_step_a_run_is_where_it_began(
    spec: AttemptSpec, stage: str, asked: list[int]
) -> None:
    assert _carry_out(spec, stage, asked) == Stopped(step=0, path=None)


@pytest.mark.parametrize("spec", ["lora"], indirect=True)
def test_asked_to_stop_when_all_steps_are_done_a_run_finishes(spec: AttemptSpec, asked: list[int]) -> None:
    assert isinstance(_carry_out(spec, "saving", asked), Finished)


@pytest.mark.parametrize("spec", ["lora"], indirect=True)
def test_workers_that_prepare_batches_change_no_byte(
    spec: AttemptSpec, whole: list[bytes], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of an epoch, with batches fetched ahead that nobody saw."""
    helped = changed(spec, workers=2)
    with monkeypatch.context() as patched:
        _at_moment("mid_step", patched)
        stopped = _carry_out(helped, "mid_step", asked)
    assert isinstance(stopped, Stopped)
    asked.clear()
    carry_out(changed(helped, attempt=2, fence=2, resume_from=stopped.path))
    assert _left(helped) == whole


def test_steps_go_on_while_a_checkpoint_is_written(
    spec: AttemptSpec, whole: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first save is held back until a later step has been trained."""
    from services.trainer.training.tuner import Tuner

    later, commit, step = threading.Event(), checkpoints.commit, Tuner.training_step

    def held_back(*arguments: Any) -> Any:
        assert later.wait(60), "training stood still until the checkpoint was written"
        return commit(*arguments)

    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        if self.state.global_step == 3:
            later.set()
        return step(self, *arguments, **named)

    monkeypatch.setattr(checkpoints, "commit", held_back)
    monkeypatch.setattr(Tuner, "training_step", watched)
    carry_out(spec)
    assert _left(spec) == whole
    assert [checkpoints.verify(each).step for each in checkpoints.newest(Path(spec.work_dir) / CHECKPOINTS)] == [
        8, 6, 4, 2,
    ]  # fmt: skip


@pytest.mark.parametrize("spec", ["lora"], indirect=True)
def test_a_write_that_fails_ends_the_run_and_leaves_the_checkpoint_before_it(
    spec: AttemptSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    commit = checkpoints.commit

    def full_at_third(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return commit(*arguments)

    monkeypatch.setattr(checkpoints, "commit", full_at_third)
    with pytest.raises(OSError, match="No space left"):
        carry_out(spec)
    found = checkpoints.newest(Path(spec.work_dir) / CHECKPOINTS)
    assert [checkpoints.verify(each).step for each in found] == [4, 2]


REFUSES = """
import pathlib, sys
from services.trainer.training import attempt
from services.trainer.training.channel import take_standard_output
from services.trainer.training.checkpoints import BadCheckpoint
from services.trainer.training.protocol import read_spec
channel = take_standard_output()
for spec in sys.argv[1:]:
    try:
        attempt.run(read_spec(pathlib.Path(spec).read_bytes()), channel, lambda: False)
    except BadCheckpoint as error:
        print(error, file=sys.stderr)
    assert "torch" not in sys.modules, spec
"""


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _replace(file: Path, was: str, becomes: str) -> None:
    text = file.read_text()
    assert was in text
    file.write_text(text.replace(was, becomes))


DAMAGES = {
    "a file is missing": (lambda at: (at / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "cut short": (lambda at: os.truncate(at / "scheduler.pt", 10), "scheduler.pt has 10 bytes"),
    "a flipped byte": (lambda at: _flip(at / "rng_state.pth"), "rng_state.pth is not the bytes"),
    "no manifest": (lambda at: (at / MANIFEST).unlink(), "was never finished"),
    "an altered manifest": (lambda at: _replace(at / MANIFEST, '"step": 4', '"step": 5'), "its seal does not fit"),
    "a newer format": (lambda at: _replace(at / MANIFEST, '"format": 1', '"format": 9'), "has format 9"),
    "a foreign run": (lambda at: None, "belongs to run-1"),
}


@pytest.mark.parametrize("spec", ["lora"], indirect=True)
def test_every_kind_of_damage_is_refused_before_torch_is_loaded(spec: AttemptSpec, quiet: Calm, tmp_path: Path) -> None:
    files = []
    for number, (name, (damage, _)) in enumerate(DAMAGES.items()):
        at = tmp_path / f"damaged-{number}" / "step-4"
        shutil.copytree(quiet.checkpoint(4), at)
        damage(at)
        run_id = "run-2" if name == "a foreign run" else spec.run_id
        files.append(tmp_path / f"spec-{number}.json")
        files[-1].write_bytes(msgspec.json.encode(changed(spec, run_id=run_id, resume_from=str(at))))
    done = subprocess.run([sys.executable, "-c", REFUSES, *map(str, files)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert len(said) == len(DAMAGES)
    for line, (name, (_, expected)) in zip(said, DAMAGES.items(), strict=True):
        assert expected in line, name


def test_a_finished_run_leaves_only_what_belongs_to_it(spec: AttemptSpec, quiet: Calm) -> None:
    left = {file.name for file in quiet.result.iterdir()}
    if spec.recipe.method == "lora":
        assert left == {CONFIG, WEIGHTS["lora"], metrics.FILE}
    else:
        needed = {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
        assert left == needed | {WEIGHTS["full"], metrics.FILE}
