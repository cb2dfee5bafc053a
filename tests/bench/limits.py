"""What the machine can do at most: ``python -m tests.bench.limits [--device cpu] [--threads 2]``.

Matrix products (bfloat16 and float32) and memory (reading and copying), each the best of some tries within two seconds,
on as many threads as training gets: 2,048³ and 512 MB on a CPU; 8,192³ and 2 GB on a GPU, which would take longer to be
asked for so little than to do it. What a training reaches is shown as a share of these, measured in the same run.
Prints one JSON line, rates in FLOP/s and bytes/s.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = {"cpu": (2048, 2**29), "cuda": (8192, 2**31)}
SECONDS = 2.0


def measured(device: str, threads: int) -> dict[str, float]:
    """Measure in a process of its own, so that nothing of it stays behind."""
    command = [sys.executable, "-m", "tests.bench.limits", "--device", device, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure here and print."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    size, count = SIZES[asked.device]
    found = {}
    for name in ("bfloat16", "float32"):
        left, right = (torch.randn(size, size, device=asked.device).to(getattr(torch, name)) for _ in range(2))
        found[f"flops_{name}"] = 2 * size**3 / _best(lambda left=left, right=right: left @ right, asked.device)
    many = torch.ones(count // 4, device=asked.device)
    other = torch.empty_like(many)
    found["read_bytes"] = count / _best(many.sum, asked.device)
    found["copy_bytes"] = 2 * count / _best(lambda: other.copy_(many), asked.device)
    print(json.dumps(found))


def _best(work: Callable[[], Any], device: str) -> float:
    import torch

    best, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


if __name__ == "__main__":
    main()
