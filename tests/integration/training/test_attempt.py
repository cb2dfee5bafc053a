"""An attempt from spec to adapter: what it tells, what it leaves, and that interruption changes no byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from libs.lm.adapters import CONFIG, WEIGHTS, check
from libs.lm.models import DamagedModel
from services.trainer.domain import saving
from services.trainer.domain.saving import Rule
from services.trainer.training import checkpoints, metrics
from services.trainer.training.checkpoints import BadCheckpoint, DiskFull
from services.trainer.training.data import NothingToLearn
from services.trainer.training.protocol import (
    AttemptSpec,
    Failed,
    Finished,
    Line,
    Saved,
    Staged,
    Stopped,
    read_line,
)
from tests.integration.training.runs import Calm, carry_out, changed, talks, write_split


def _only(lines: list[Line], kind: type) -> list[Line]:
    return [line for line in lines if isinstance(line, kind)]


def _adapter(spec: AttemptSpec) -> tuple[bytes, bytes, bytes]:
    folder = Path(spec.work_dir) / "adapter"
    weights, config, curve = ((folder / name).read_bytes() for name in (WEIGHTS, CONFIG, metrics.FILE))
    return weights, config, curve


@pytest.fixture
def whole(calm: Calm) -> tuple[bytes, bytes, bytes]:
    """The adapter of the same run, never interrupted."""
    return _adapter(calm.spec)


def test_an_attempt_tells_its_story_in_order(calm: Calm) -> None:
    spec, lines = calm
    stages = [line.stage for line in lines if isinstance(line, Staged)]
    assert stages == ["preprocessing", "loading_model", "training", "saving"]
    assert [line.step for line in lines if isinstance(line, Saved)] == [2, 4, 6, 8]
    finished = lines[-1]
    assert isinstance(finished, Finished)
    assert finished.step == 9
    assert finished.eval_loss is not None
    assert finished.path == str(Path(spec.work_dir) / "adapter")
    assert not list(Path(spec.work_dir).rglob(".*"))


def test_training_learns(spec: AttemptSpec) -> None:
    carry_out(changed(spec, recipe=msgspec.structs.replace(spec.recipe, epochs=8)))
    points = metrics.read(Path(spec.work_dir) / "adapter")
    losses = [point.eval_loss for point in points if point.eval_loss is not None]
    assert len(losses) == 8
    assert losses[-1] < losses[0] - 0.1
    guessed = [point.eval_token_accuracy for point in points if point.eval_token_accuracy is not None]
    assert len(guessed) == 8
    assert 0 <= guessed[0] < guessed[-1] <= 1
    assert points[-1].train_loss < points[0].train_loss - 0.3


def test_the_counters_count_every_example_once_an_epoch(calm: Calm) -> None:
    finished = calm.lines[-1]
    detail = next(line.detail for line in calm.lines if isinstance(line, Staged) and line.stage == "loading_model")
    assert isinstance(finished, Finished)
    assert detail == f"10 conversations, {finished.tokens // 3} tokens, {finished.trained_tokens // 3} taught"


def test_the_adapter_names_its_base_and_no_path(calm: Calm) -> None:
    assert check(calm.result).base_model_name_or_path == calm.spec.recipe.base_model
    assert "/" not in json.dumps(json.loads((calm.result / CONFIG).read_text()))
    assert sorted(file.name for file in calm.result.iterdir()) == [CONFIG, WEIGHTS, metrics.FILE]


def test_the_same_recipe_gives_the_same_bytes(spec: AttemptSpec, whole: tuple[bytes, ...]) -> None:
    carry_out(spec)
    assert _adapter(spec) == whole


def test_saves_that_are_too_dear_become_rare_and_change_no_byte(
    spec: AttemptSpec, whole: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is made as planned; the second may be begun before it is known what the first has cost."""
    monkeypatch.setattr(saving, "TRIFLE", 0.0)
    lines = carry_out(changed(spec, saving=Rule(share=1e-9, longest=1e9)))
    assert [line.step for line in lines if isinstance(line, Saved)] in ([2], [2, 4])
    assert all(line.busy > 0 for line in lines if isinstance(line, Saved))
    assert _adapter(spec) == whole


@pytest.mark.parametrize("stop_at", [3, 4, 8], ids=["before an evaluation", "where a save is due", "before the end"])
def test_a_run_stopped_and_resumed_equals_one_never_interrupted(
    spec: AttemptSpec, whole: tuple[bytes, ...], stop_at: int
) -> None:
    asked: Iterator[bool] = iter([False] * stop_at + [True] * 20)
    stopped = carry_out(spec, lambda: next(asked))[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.step == stop_at
    resumed = carry_out(changed(spec, attempt=2, fence=2, resume_from=stopped.path))
    assert isinstance(resumed[-1], Finished)
    assert _adapter(spec) == whole


def test_a_run_resumed_twice_from_an_older_checkpoint_still_equals(
    spec: AttemptSpec, calm: Calm, whole: tuple[bytes, ...]
) -> None:
    for fence, step in ((2, 6), (3, 2)):
        carry_out(changed(spec, fence=fence, resume_from=str(calm.checkpoint(step))))
        assert _adapter(spec) == whole


def test_a_stop_asked_before_the_first_step_saves_nothing(spec: AttemptSpec) -> None:
    assert carry_out(spec, lambda: True)[-1] == Stopped(step=0, path=None)
    assert checkpoints.newest(Path(spec.work_dir) / "checkpoints") == []


def test_a_stop_asked_at_the_last_step_finishes(spec: AttemptSpec) -> None:
    asked = iter([False] * 9 + [True] * 9)
    assert isinstance(carry_out(spec, lambda: next(asked))[-1], Finished)


def test_fewer_tokens_to_a_pass_change_neither_steps_nor_data(spec: AttemptSpec, calm: Calm) -> None:
    halved = carry_out(changed(spec, fence=2, resume_from=str(calm.checkpoint(4)), micro_tokens=128))
    finished = halved[-1]
    assert isinstance(finished, Finished)
    assert finished.step == 9


def test_every_checkpoint_holds_what_resuming_needs(calm: Calm) -> None:
    manifest = checkpoints.verify(calm.checkpoint(8))
    assert set(manifest.required) <= set(manifest.files)
    assert (manifest.run_id, manifest.attempt, manifest.fence, manifest.step) == ("run-1", 1, 1, 8)
    assert not [name for name in manifest.files if name.endswith(".bin")]


def test_a_damaged_checkpoint_is_refused_before_anything_is_loaded(
    spec: AttemptSpec, calm: Calm, tmp_path: Path
) -> None:
    at = shutil.copytree(calm.checkpoint(4), tmp_path / "step-4")
    (at / "scheduler.pt").unlink()
    with pytest.raises(BadCheckpoint, match=r"scheduler\.pt"):
        carry_out(changed(spec, resume_from=str(at)))


def test_a_checkpoint_of_other_data_is_refused(spec: AttemptSpec, calm: Calm, tmp_path: Path) -> None:
    other = write_split(tmp_path / "other.parquet", talks(11)[1:])
    with pytest.raises(BadCheckpoint, match="another data"):
        carry_out(changed(spec, resume_from=str(calm.checkpoint(4)), train=str(other)))


def test_another_revision_of_the_model_is_refused(spec: AttemptSpec) -> None:
    with pytest.raises(DamagedModel, match="revision"):
        carry_out(changed(spec, model_revision="0" * 64))


def test_data_without_replies_is_an_error_and_not_a_run(spec: AttemptSpec, tmp_path: Path) -> None:
    silent = write_split(tmp_path / "silent.parquet", [[{"role": "user", "content": "anyone?"}]])
    with pytest.raises(NothingToLearn, match="teach nothing"):
        carry_out(changed(spec, train=str(silent)))


def test_replies_cut_away_by_the_maximum_length_are_an_error(spec: AttemptSpec) -> None:
    with pytest.raises(NothingToLearn, match="max_length"):
        carry_out(changed(spec, recipe=msgspec.structs.replace(spec.recipe, max_length=16)))


def test_a_full_disk_leaves_the_checkpoints_before_it_whole(spec: AttemptSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def room(folder: Path, needed: int) -> None:
        calls.append(needed)
        if len(calls) == 3:
            raise DiskFull("no room")

    monkeypatch.setattr(checkpoints, "require_room", room)
    with pytest.raises(DiskFull):
        carry_out(spec)
    found = checkpoints.newest(Path(spec.work_dir) / "checkpoints")
    assert [checkpoints.verify(each).step for each in found] == [4, 2]
    assert calls[1] == checkpoints.verify(found[-1]).size


AT_ITS_MOMENT = """
import signal, sys
from services.trainer.training import __main__ as child
from services.trainer.training.watching import Watch
_, spec, step, does = sys.argv
on_step_end = Watch.on_step_end
def at_its_moment(self, args, state, *rest, **named):
    if state.global_step == int(step):
        signal.raise_signal(signal.SIGTERM) if does == "terminate" else signal.pause()
    return on_step_end(self, args, state, *rest, **named)
Watch.on_step_end = at_its_moment
sys.exit(child.main())
"""
"""The child, which ends a step with SIGTERM or by waiting for ever: no test has to be quicker than training."""


def _start(spec: AttemptSpec, tmp_path: Path, step: int = 0, does: str = "") -> subprocess.Popen[bytes]:
    file = tmp_path / "spec.json"
    file.write_bytes(msgspec.json.encode(spec))
    child = (
        ["-c", AT_ITS_MOMENT, str(file), str(step), does] if does else ["-m", "services.trainer.training", str(file)]
    )
    return subprocess.Popen([sys.executable, *child], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])


def _hear(child: subprocess.Popen[bytes]) -> Iterator[Line]:
    assert child.stdout is not None
    return (read_line(line) for line in child.stdout)


def test_a_child_asked_to_stop_saves_and_a_killed_one_loses_only_later_steps(
    spec: AttemptSpec, tmp_path: Path, whole: tuple[bytes, ...]
) -> None:
    child = _start(spec, tmp_path, 1, "terminate")
    stopped = list(_hear(child))[-1]
    assert isinstance(stopped, Stopped)
    assert (stopped.step, child.wait()) == (1, 0)

    child = _start(changed(spec, attempt=2, fence=2, resume_from=stopped.path), tmp_path, 3, "wait")
    saved = next(line for line in _hear(child) if isinstance(line, Saved))
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL

    assert isinstance(carry_out(changed(spec, attempt=3, fence=3, resume_from=saved.path))[-1], Finished)
    assert _adapter(spec) == whole


def test_a_child_that_fails_says_why_and_exits_with_one(spec: AttemptSpec, tmp_path: Path) -> None:
    silent = write_split(tmp_path / "silent.parquet", [[{"role": "user", "content": "anyone?"}]])
    child = _start(changed(spec, train=str(silent)), tmp_path)
    failed = list(_hear(child))[-1]
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.error) == ("nothing_to_learn", "NothingToLearn")
    assert child.wait() == 1
