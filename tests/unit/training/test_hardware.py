"""What a device gets: kernels by its capability and by what is installed, rows by the memory that is free."""

from pathlib import Path

import pytest

from contracts.recipes import SHIPPED_MODEL, Recipe
from libs.lm.models import known
from services.trainer.training import hardware
from services.trainer.training.hardware import Kernels, _room_in, fitting_tokens, gpu_kernels, kernels_for

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


def test_a_cgroup_bounds_what_is_free(tmp_path: Path) -> None:
    assert _room_in(tmp_path) > 10**15
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert _room_in(tmp_path) > 10**15
    (tmp_path / "memory.max").write_text("5000\n")
    assert _room_in(tmp_path) == 4000
    (tmp_path / "memory.stat").write_text("anon 900\ninactive_file 90\n")
    assert _room_in(tmp_path) == 4090
