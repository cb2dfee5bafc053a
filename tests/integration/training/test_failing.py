"""What breaks while a child trains: each fault really bites, is told for what it is, and costs no more than it must."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from contracts.recipes import Recipe
from libs.lm.adapters import WEIGHTS
from services.trainer.domain.classifying import classified
from services.trainer.training import checkpoints, metrics
from services.trainer.training import model as model_module
from services.trainer.training.failures import explain
from services.trainer.training.protocol import AttemptSpec, Failed, Finished, Line, Remarked, Saved, read_line
from services.trainer.training.watching import Diverged, NotLearning
from tests.integration.training.runs import Calm, carry_out, changed

NO_MEMORY = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"


def adapter(spec: AttemptSpec) -> bytes:
    return (Path(spec.work_dir) / "adapter" / WEIGHTS).read_bytes()


def remarks(lines: list[Line]) -> list[tuple[str, int]]:
    return [(line.code, line.step) for line in lines if isinstance(line, Remarked)]


@pytest.fixture
def whole(calm: Calm) -> bytes:
    """The adapter of the same run, undisturbed."""
    return adapter(calm.spec)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put something in the place of a forward pass; it is given the real one first."""
    real = model_module.row_loss

    def replace(instead: Callable[..., Any]) -> None:
        monkeypatch.setattr(model_module, "row_loss", lambda model, row: instead(real, model, row))

    return replace


@pytest.mark.parametrize(
    ("limit", "code"), [(200, "evaluation_smaller"), (0, "evaluation_skipped")], ids=["smaller", "skipped"]
)
def test_memory_that_runs_out_in_an_evaluation_never_loses_the_run(
    spec: AttemptSpec, whole: bytes, passes: Any, monkeypatch: pytest.MonkeyPatch, limit: int, code: str
) -> None:
    monkeypatch.setattr("services.trainer.training.surviving.SMALLEST", 32)
    refused = []

    def scarce(real: Any, model: Any, row: Any) -> Any:
        if not torch.is_grad_enabled() and len(row.ids) > limit:
            refused.append(len(row.ids))
            raise RuntimeError(f"{NO_MEMORY} allocate 4294967296 bytes.")
        return real(model, row)

    passes(scarce)
    lines = carry_out(spec)
    finished = lines[-1]
    assert refused
    assert isinstance(finished, Finished)
    assert (finished.step, finished.eval_loss is None) == (9, limit == 0)
    assert remarks(lines)[0] == (code, 3)
    assert adapter(spec) == whole


def test_an_error_in_an_evaluation_that_is_not_memory_is_no_secret(spec: AttemptSpec, passes: Any) -> None:
    def broken(real: Any, model: Any, row: Any) -> Any:
        if not torch.is_grad_enabled():
            raise ZeroDivisionError("a bug")
        return real(model, row)

    passes(broken)
    with pytest.raises(ZeroDivisionError):
        carry_out(spec)


def test_a_loss_that_is_no_number_ends_the_run_with_its_step(spec: AttemptSpec, passes: Any) -> None:
    def burst(real: Any, model: Any, row: Any) -> Any:
        total, right = real(model, row)
        return total * float("nan"), right

    passes(burst)
    with pytest.raises(Diverged) as failure:
        carry_out(spec)
    told = explain(failure.value)
    assert told.kind == "diverged"
    assert "at step 1" in told.message


def test_a_model_that_no_gradient_reaches_is_not_called_trained(spec: AttemptSpec, passes: Any) -> None:
    def dead(real: Any, model: Any, row: Any) -> Any:
        total, right = real(model, row)
        return total * 0.0, right

    passes(dead)
    with pytest.raises(NotLearning) as failure:
        carry_out(spec)
    assert explain(failure.value).kind == "no_learning"


def test_time_that_is_up_ends_the_run_with_what_it_learned(spec: AttemptSpec) -> None:
    lines = carry_out(changed(spec, seconds_left=0.01))
    finished = lines[-1]
    assert isinstance(finished, Finished)
    assert finished.step == 1
    assert finished.eval_loss is not None
    assert remarks(lines) == [("time_limit", 1)]
    assert [point.step for point in metrics.read(Path(finished.path))] == [1]


def test_money_that_is_spent_ends_the_run_with_what_it_learned(spec: AttemptSpec) -> None:
    lines = carry_out(changed(spec, seconds_left=0.01, limit="budget"))
    assert remarks(lines) == [("budget_100", 1)]
    assert isinstance(lines[-1], Finished)


def test_time_that_is_enough_changes_no_byte(spec: AttemptSpec, whole: bytes) -> None:
    assert remarks(carry_out(changed(spec, seconds_left=600.0))) == []
    assert adapter(spec) == whole


def test_a_disk_that_fills_up_in_a_save_leaves_the_one_before_it_whole(spec: AttemptSpec, tmp_path: Path) -> None:
    """The file size limit stands in for the disk: writes fail inside PyTorch just as on a full one."""
    recipe = Recipe(base_model=spec.recipe.base_model, rank=4, alpha=8, epochs=50, batch_size=1)
    file = tmp_path / "spec.json"
    file.write_bytes(msgspec.json.encode(changed(spec, recipe=recipe)))
    command = [sys.executable, "-m", "services.trainer.training", str(file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as child:
        assert child.stdout
        heard = (read_line(line) for line in child.stdout)
        saved = next(line for line in heard if isinstance(line, Saved))
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))
        failed = list(heard)[-1]
    assert isinstance(failed, Failed)
    assert "inline_container.cc" in failed.traceback or "File too large" in failed.traceback
    assert classified(failed.kind, 1, failed.traceback) == "disk_full"
    newest = checkpoints.newest(Path(spec.work_dir) / "checkpoints")[0]
    assert checkpoints.verify(newest).step >= saved.step


def test_a_halved_forward_pass_leaves_the_loss_curve_as_it_was(spec: AttemptSpec) -> None:
    """Without dropout nothing is drawn, so only the order of additions differs."""
    curves = []
    for micro_tokens in (256, 128, 64):
        recipe = msgspec.structs.replace(spec.recipe, dropout=0.0)
        halved = changed(spec, recipe=recipe, micro_tokens=micro_tokens, work_dir=f"{spec.work_dir}-{micro_tokens}")
        finished = carry_out(halved)[-1]
        assert isinstance(finished, Finished)
        curves.append([point.train_loss for point in metrics.read(Path(finished.path))])
    assert curves[1] == pytest.approx(curves[0], rel=2e-3)
    assert curves[2] == pytest.approx(curves[0], rel=2e-3)
