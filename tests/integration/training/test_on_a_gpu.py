"""What only a GPU can show: the same losses as elsewhere, the same bytes again, every kernel, and no waiting.

``python -m pytest tests/integration/training/test_on_a_gpu.py`` on a machine that has one; skipped on all others, where
``test_unwaited`` and ``test_varlen`` prove as much of it as can be proved without.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from peft.tuners.lora import Linear
from torch import Tensor

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.lm.adapters import WEIGHTS
from libs.lm.chat import ChatFormat
from services.trainer.training import attention, metrics, model
from services.trainer.training.data import Example, Row, pack
from services.trainer.training.hardware import Attention, Kernels, dtype_for
from services.trainer.training.lora import Together
from services.trainer.training.loss import HEADS, before_the_head
from services.trainer.training.protocol import AttemptSpec, Finished, Saved, read_line
from tests.integration.training.runs import carry_out, changed, talks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
ROOT = Path(__file__).parents[3]
GPU = "cuda:0"
RECIPE = Recipe(base_model=SHIPPED_MODEL, rank=4, dropout=0.0)
PACKAGES = {"chunks": "torch", "liger": "liger_kernel", "cut": "cut_cross_entropy"}


@pytest.fixture
def row(chat: ChatFormat) -> Row:
    (packed,) = pack([Example(each.ids, each.labels) for each in map(chat.encode, talks(5))], 4096)
    return packed


def _trained(each: Any) -> list[Tensor]:
    return [weight for weight in each.parameters() if weight.requires_grad]


def _looked_at(tuned: Any, row: Row) -> list[Tensor]:
    """Return the loss of a row and all gradients."""
    loss = tuned.row_loss(row)[0]
    return [loss.detach(), *torch.autograd.grad(loss, _trained(tuned), allow_unused=True, materialize_grads=True)]


def _near(ours: list[Tensor], theirs: list[Tensor], share: float) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine.float() - other.float()).norm()) <= share * float(other.float().norm()) + 1e-6


def _moved(tuned: Any) -> Any:
    """Give the second half of each LoRA, which begins with zeros, something to say."""
    torch.manual_seed(3)
    for name, each in tuned.named_parameters():
        if "lora_B" in name:
            each.data = (torch.randn(each.shape) / 50).to(each.device)
    return tuned.eval()


def test_one_call_for_all_lengths_is_one_for_each(tiny: Path, row: Row) -> None:
    if dtype_for(GPU) != "bfloat16":
        pytest.skip("this GPU computes no bfloat16, and has no FlashAttention")
    tuned = _moved(model.load(tiny, RECIPE, "bfloat16", GPU))
    seen = []
    for kind in ("varlen", "each"):
        attention.use_in(tuned.get_base_model(), kind)  # type: ignore[arg-type]
        seen.append(_looked_at(tuned, row))
    _near(*seen, 0.05)


def test_a_lora_in_one_piece_is_pefts(tiny: Path, row: Row) -> None:
    tuned = _moved(model.load(tiny, RECIPE, dtype_for(GPU), GPU))
    ours = _looked_at(tuned, row)
    layers = [each for each in tuned.modules() if isinstance(each, Together)]
    assert layers
    for each in layers:
        each.__class__ = Linear
    _near(ours, _looked_at(tuned, row), 0.05)


@pytest.mark.parametrize("head", [name for name, package in PACKAGES.items() if find_spec(package)])
def test_every_head_that_is_installed_says_the_same(tiny: Path, row: Row, head: Any) -> None:
    tuned = model.load(tiny, RECIPE, dtype_for(GPU), GPU)
    hidden, weight, labels = before_the_head(tuned, row)
    found = []
    for given, name in ((hidden, head), (hidden.float(), "chunks")):
        loss, right = HEADS[name](given.detach().requires_grad_(), weight.detach().to(given.dtype), labels)
        found.append([loss.detach(), right.float()])
    _near(*found, 0.01)


def test_a_gpu_loses_what_a_cpu_loses(tiny: Path, row: Row) -> None:
    ours, theirs = (
        [each.cpu() for each in _looked_at(_moved(model.load(tiny, RECIPE, "float32", device)), row)]
        for device in (GPU, "cpu")
    )
    _near(ours, theirs, 0.01)


@pytest.mark.parametrize("objective", ["supervised", "dpo"])
def test_nobody_waits_in_a_pass(tiny: Path, row: Row, objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With our own head: Liger's asks the GPU how many tokens are taught."""
    how: Attention = "varlen" if dtype_for(GPU) == "bfloat16" else "each"
    monkeypatch.setattr(model, "kernels_for", lambda *_: Kernels(attention=how))
    recipe = msgspec.structs.replace(RECIPE, dropout=0.1, objective=objective)
    tuned = model.load(tiny, recipe, dtype_for(GPU), GPU)
    tuned.row_loss(row)[0].backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        tuned.row_loss(row)[0].backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(each.grad is not None and each.grad.dtype == torch.float32 for each in _trained(tuned))


@pytest.mark.parametrize("method", ["lora", "full", "nf4"])
def test_a_run_and_its_repetition_and_its_second_half_give_equal_bytes(
    spec: AttemptSpec, tmp_path: Path, method: str
) -> None:
    """And its losses are a CPU's, where the base is not in four bits."""
    if method == "nf4" and not find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is not installed")
    asked = {"quantization": "nf4"} if method == "nf4" else {"method": method}
    spec = changed(spec, recipe=msgspec.structs.replace(spec.recipe, dropout=0.0, **asked))
    runs = [changed(spec, device=GPU, work_dir=str(tmp_path / name)) for name in ("one", "two", "half")]
    first, again = (_carried_out(each) for each in runs[:2])
    half = [line.path for line in first if isinstance(line, Saved)][1]
    resumed = _carried_out(changed(runs[2], attempt=2, fence=2, resume_from=half))
    digests = {line.digest for lines in (first, again, resumed) for line in lines if isinstance(line, Finished)}
    assert len(digests) == 1
    assert (tmp_path / "one" / "adapter" / WEIGHTS).exists() == (method != "full")
    if method != "nf4":
        carry_out(spec)
        ours, theirs = (metrics.read(Path(each.work_dir) / "adapter") for each in (runs[0], spec))
        for point, other in zip(ours, theirs, strict=True):
            assert point.train_loss == pytest.approx(other.train_loss, rel=0.02)


def _carried_out(spec: AttemptSpec) -> list[Any]:
    """Run an attempt in a process of its own, as a runner does."""
    folder = Path(spec.work_dir)
    folder.mkdir(parents=True)
    (folder / "spec.json").write_bytes(msgspec.json.encode(spec))
    command = [sys.executable, "-m", "services.trainer.training", str(folder / "spec.json")]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return [read_line(line) for line in done.stdout.splitlines()]
