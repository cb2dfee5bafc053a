"""What this machine can do for training: number format, kernels, tokens to a forward pass, memory in use.

Measured on Zen 5 with AVX512-BF16: bfloat16 trains 1.7 times as fast as float32, and on a CPU one forward pass of some
600 tokens is faster than one of 1,200 or more. The same figures and how they were taken: docs, benchmarks.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from msgspec import Struct

Dtype = Literal["bfloat16", "float32"]
Attention = Literal["each", "varlen"]
"""One call for each conversation of a row, or one call for all of them."""
Head = Literal["chunks", "liger", "cut"]
"""How the vocabulary's projection and its loss are computed: by us in chunks, by Liger, or by cut cross-entropy."""

CPU_TOKENS = 768
GPU_TOKENS = 4096


def dtype_for(device: str) -> Dtype:
    """Return the number format of the frozen weights: bfloat16 where the hardware computes in it."""
    if device != "cpu":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & cpu_flags() else "float32"


class Kernels(Struct, frozen=True):
    """What computes attention and the head, and whether norms, rotations and gates are Liger's."""

    attention: Attention = "each"
    head: Head = "chunks"
    liger: bool = False


def kernels_for(device: str, dtype: Dtype) -> Kernels:
    """Return what serves a device best of all that is installed here."""
    if device == "cpu":
        return Kernels()
    import torch

    installed = {name for name in ("liger_kernel", "cut_cross_entropy") if find_spec(name)}
    return gpu_kernels(dtype, torch.cuda.get_device_capability(), installed)


def gpu_kernels(dtype: Dtype, capability: tuple[int, int], installed: set[str]) -> Kernels:
    """Decide for a GPU of this compute capability; ``installed`` are the packages that may be used.

    Torch's own FlashAttention takes 16-bit numbers from Ampere (8.0) on. Liger goes before cut cross-entropy: it counts
    right guesses along the way, and forms the gradient with the loss instead of projecting once more.
    """
    liger = "liger_kernel" in installed
    return Kernels(
        attention="varlen" if dtype == "bfloat16" and capability >= (8, 0) else "each",
        head="liger" if liger else "cut" if "cut_cross_entropy" in installed else "chunks",
        liger=liger,
    )


def cpu_flags() -> set[str]:
    """Return the CPU's feature flags as Linux names them; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return set(found[1].split()) if found else set()


def tokens_for(device: str) -> int:
    """Return how many tokens share a forward pass unless the spec says otherwise."""
    return CPU_TOKENS if device == "cpu" else GPU_TOKENS


def resident_bytes() -> int:
    """Return this process's resident memory in bytes; 0 where ``/proc`` is missing."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0


def device_bytes(device: str) -> int:
    """Return the largest GPU memory this process has held, in bytes; 0 on a CPU."""
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated())
