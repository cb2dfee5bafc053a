"""What a device gets: kernels by its capability and by what is installed, rows by the memory that is free."""

import pytest

from services.trainer.training.hardware import Kernels, gpu_kernels, kernels_for


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
