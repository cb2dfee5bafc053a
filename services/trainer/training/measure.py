"""What devices this machine has and how fast each multiplies matrices: ``python -m services.trainer.training.measure``.

Runs as a process of its own and prints JSON, so the runner stays free of torch. The speed is
of one product in the precision the device trains in, best of some half a second: of 1,024 × 1,024 matrices on a CPU,
and of 8,192 × 8,192 ones on a GPU, which would take longer to be asked for a small product than to compute it.
"""

import sys
import time
from pathlib import Path

import msgspec
import torch
from msgspec import Struct

from services.trainer.training.hardware import dtype_for, features_here

SIZES = {"cpu": 1024, "cuda": 8192}
SECONDS = 0.5


class Measured(Struct, frozen=True, kw_only=True):
    """One device: ``flops`` in FLOP/s, memory in bytes, and the features of recipes that can be had on it."""

    torch_device: str
    kind: str
    precision: str
    memory_bytes: int
    flops: float
    features: tuple[str, ...]


def devices(threads: int) -> list[Measured]:
    """Return the GPUs, or the CPU where there is none."""
    torch.set_num_threads(threads)
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [_measure(name) for name in found or ["cpu"]]


def _measure(name: str) -> Measured:
    precision = dtype_for(name)
    return Measured(
        torch_device=name,
        kind=_kind(name),
        precision=precision,
        memory_bytes=_memory(name),
        flops=_flops(name, getattr(torch, precision)),
        features=features_here(),
    )


def _kind(name: str) -> str:
    if name != "cpu":
        return str(torch.cuda.get_device_name(name))
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return models[0].split(":", 1)[1].strip() if models else "cpu"


def _memory(name: str) -> int:
    if name != "cpu":
        return int(torch.cuda.get_device_properties(name).total_memory)
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return int(line.split()[1]) * 1024


def _flops(name: str, dtype: torch.dtype) -> float:
    size = SIZES[name.partition(":")[0]]
    left, right = (torch.randn(size, size, device=name).to(dtype) for _ in range(2))
    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        product = left @ right
        if name != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    del product
    return 2 * size**3 / best


if __name__ == "__main__":
    print(msgspec.json.encode(devices(int(sys.argv[1]))).decode())
