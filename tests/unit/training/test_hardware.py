"""What a device gets: kernels by its capability and by what is installed, rows by the memory that is free."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.lm.models import known
from services.trainer.training import hardware
from services.trainer.training.hardware import Kernels, _room_in, equal_bytes, fitting_tokens, gpu_kernels, kernels_for

GB = 10**9


def test_a_cpu_needs_nothing_that_may_be_missing() -> None:
    assert kernels_for("cpu", "bfloat16") == Kernels(attention="each", head="chunks", liger=False)


@pytest.mark.parametrize(
    ("dtype", "capability", "attention"),
    [
        ("bfloat16", (9, 0), "varlen"),
        ("bfloat16", (8, 0), "varlen"),
        ("bfloat16", (7, 5), "each"),
        ("float32", (9, 0), "each"),
    ],
)
def test_one_call_for_all_lengths_needs_ampere_and_sixteen_bits(
    dtype: str, capability: tuple[int, int], attention: str
) -> None:
    assert gpu_kernels(dtype, capability, set()).attention == attention  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("installed", "head", "liger"),
    [
        ({"liger_kernel", "cut_cross_entropy"}, "liger", True),
        ({"cut_cross_entropy"}, "cut", False),
        (set(), "chunks", False),
    ],
)
def test_the_head_is_the_best_that_is_installed(installed: set[str], head: str, liger: bool) -> None:
    found = gpu_kernels("bfloat16", (8, 0), installed)
    assert (found.head, found.liger) == (head, liger)


@pytest.mark.parametrize(
    ("device", "free", "model", "tokens"),
    [
        ("cpu", 24 * GB, SHIPPED_MODEL, 768),
        ("cpu", 3 * GB, SHIPPED_MODEL, 512),
        ("cpu", 1 * GB, SHIPPED_MODEL, 128),
        ("cuda:0", 8 * GB, SHIPPED_MODEL, 2048),
        ("cuda:0", 140 * GB, SHIPPED_MODEL, 32_768),
        ("cuda:0", 80 * GB, "Qwen2.5-7B-Instruct", 2048),
        ("cuda:0", 16 * GB, "Qwen2.5-7B-Instruct", 128),
    ],
)
def test_rows_are_as_long_as_free_memory_and_the_device_like(device: str, free: int, model: str, tokens: int) -> None:
    assert fitting_tokens(device, free, known(model), Recipe(base_model=model), "bfloat16") == tokens


@pytest.mark.parametrize(
    ("device", "free", "method", "weights"),
    [
        ("cuda:0", 80 * GB, "lora", "bfloat16"),
        ("cuda:0", 16 * GB, "lora", "nf4"),
        ("cuda:0", 16 * GB, "full", "bfloat16"),
        ("cpu", 16 * GB, "lora", "bfloat16"),
    ],
)
def test_four_bits_are_for_a_lora_on_a_gpu_that_is_too_small(
    device: str, free: int, method: str, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "dtype_for", lambda device: "bfloat16")
    recipe = Recipe(base_model="Qwen2.5-7B-Instruct", method=method)
    assert hardware.weights_for(device, free, known("Qwen2.5-7B-Instruct"), recipe) == weights


def test_four_bits_that_are_asked_for_are_had_everywhere_and_leave_more_room() -> None:
    recipe = Recipe(base_model="Qwen2.5-7B-Instruct", quantization="nf4")
    base = known(recipe.base_model)
    assert hardware.weights_for("cpu", 80 * GB, base, recipe) == "nf4"
    room = [fitting_tokens("cuda:0", 20 * GB, base, recipe, dtype) for dtype in ("bfloat16", "nf4")]
    assert room[0] < room[1]


def test_training_every_weight_leaves_less_for_rows() -> None:
    lora, whole = (Recipe(base_model=SHIPPED_MODEL, method=method) for method in ("lora", "full"))
    room = [fitting_tokens("cuda:0", 4 * GB, known(SHIPPED_MODEL), each, "bfloat16") for each in (lora, whole)]
    assert room[0] > room[1]


@pytest.mark.parametrize(
    ("method", "dtype", "device", "usual", "products"),
    [
        ("lora", "bfloat16", "cuda:0", "bfloat16", None),
        ("lora", "nf4", "cuda:0", "bfloat16", "bfloat16"),
        ("lora", "nf4", "cuda:0", "float32", None),
        ("lora", "nf4", "cpu", "bfloat16", None),
        ("full", "bfloat16", "cuda:0", "bfloat16", "bfloat16"),
        ("full", "bfloat16", "cpu", "bfloat16", "bfloat16"),
        ("full", "float32", "cpu", "float32", None),
    ],
)
def test_products_are_cast_where_weights_are_kept_otherwise(
    method: str, dtype: Any, device: str, usual: str, products: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "dtype_for", lambda device: usual)
    assert hardware.products_in(method, dtype, device) == products


def test_a_gpu_that_only_imitates_bfloat16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for major, dtype in ((7, "float32"), (8, "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, major=major: SimpleNamespace(major=major))
        assert hardware.dtype_for("cuda:0") == dtype


def test_a_cgroup_bounds_what_is_free(tmp_path: Path) -> None:
    assert _room_in(tmp_path) > 10**15
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert _room_in(tmp_path) > 10**15
    (tmp_path / "memory.max").write_text("5000\n")
    assert _room_in(tmp_path) == 4000
    (tmp_path / "memory.stat").write_text("anon 900\ninactive_file 90\n")
    assert _room_in(tmp_path) == 4090


@pytest.mark.parametrize(("device", "fast", "mode"), [("cpu", True, 0), ("cuda:0", False, 1), ("cuda:0", True, 2)])
def test_a_gpu_is_told_to_give_equal_bytes_and_to_say_where_it_cannot(
    device: str, fast: bool, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        equal_bytes(device, fast=fast)
        assert torch.get_deterministic_debug_mode() == mode, "0 is nothing said, 1 a warning, 2 an error"
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if mode else None)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_the_most_memory_that_was_held_is_told_after_it_was_given_back() -> None:
    """In a process of its own, in which nothing larger was held before."""
    module = hardware.__name__
    code = f"from {module} import most_resident_bytes as most; began = most(); b'x' * 10**8; print(most() - began)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert int(told.stdout) > 0.9 * 10**8
