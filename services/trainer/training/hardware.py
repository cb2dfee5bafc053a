"""What this machine can do for training: number format, tokens to a forward pass, memory in use.

Measured on Zen 5 with AVX512-BF16: bfloat16 trains 1.7 times as fast as float32, and on a CPU one forward pass of some
600 tokens is faster than one of 1,200 or more. The same figures and how they were taken: docs, benchmarks.
"""

import re
from pathlib import Path
from typing import Literal

Dtype = Literal["bfloat16", "float32"]

CPU_TOKENS = 768
GPU_TOKENS = 4096


def dtype_for(device: str) -> Dtype:
    """Return the number format of the frozen weights: bfloat16 where the hardware computes in it."""
    if device != "cpu":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & cpu_flags() else "float32"


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
