"""What this machine can do for training: number format, kernels, tokens to a forward pass, memory in use.

Measured on Zen 5 with AVX512-BF16: bfloat16 trains 1.7 times as fast as float32. The same figures and how they were
taken: docs, benchmarks.
"""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from msgspec import Struct

from contracts.recipes import Recipe
from libs.lm.models import BaseModel

Dtype = Literal["bfloat16", "float32", "nf4"]
"""The format of the frozen weights; ``nf4`` is four bits (QLoRA), multiplied in bfloat16."""
Attention = Literal["each", "varlen"]
"""One call for each conversation of a row, or one call for all of them."""
Head = Literal["chunks", "liger", "cut"]
"""How the vocabulary's projection and its loss are computed: by us in chunks, by Liger, or by cut cross-entropy."""

CPU_TOKENS = 768
"""Of conversations of 128 tokens, four batches in turns on a quiet machine: rows of 512 took 1.19 times as long (1.14
to 1.19), because oneDNN makes kernels for every length that a row has; rows of 1,024 took 0.97 (0.92 to 0.97), and a
third more memory."""
GPU_TOKENS = 4096
MOST_GPU_TOKENS = 32_768
SIZES = (128, 256, 512, 768, 1024, 2048, 4096, 8192, 16_384, MOST_GPU_TOKENS)
"""Row sizes to choose from: few, so that a little more or less free memory changes no byte of a run."""
ACTIVATION_BYTES = 8
"""What a token leaves behind for the backward pass, for each number that goes into or comes out of a linear layer: 7.6
by the peak memories of the shipped model at 316, 610 and 1,310 tokens with PEFT's own layers. Where ``lora`` multiplies
(a CPU, sixteen bits) it is less than 4.7; the larger figure holds for all."""
BYTES = {"float32": 4, "bfloat16": 2}
"""Of a frozen weight."""
LIBRARY_BYTES = 700 * 10**6
SPARED = 0.8
"""The share of free memory that a training counts on."""


def dtype_for(device: str) -> Dtype:
    """Return the number format of the frozen weights: bfloat16 where the hardware computes in it."""
    if device != "cpu":
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & cpu_flags() else "float32"


def products_in(method: str, dtype: Dtype, device: str) -> Dtype | None:
    """Return the format that autocast is to multiply in, as far as weights are kept in another than products need.

    A LoRA on a base in four bits is multiplied by PEFT's layers, in float32 unless they are told otherwise.
    """
    if method == "lora" and (dtype != "nf4" or device == "cpu"):
        return None
    usual = dtype_for(device) if dtype == "nf4" else dtype
    return None if usual == "float32" else usual


def features_here() -> tuple[str, ...]:
    """Return which of the recipes' features this version carries out with what is installed here."""
    return ("dpo", "nf4") if find_spec("bitsandbytes") else ("dpo",)


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
        attention="varlen" if dtype != "float32" and capability >= (8, 0) else "each",
        head="liger" if liger else "cut" if "cut_cross_entropy" in installed else "chunks",
        liger=liger,
    )


def cpu_flags() -> set[str]:
    """Return the CPU's feature flags as Linux names them; empty elsewhere."""
    found = re.search(r"^flags\s*:(.*)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return set(found[1].split()) if found else set()


def weights_for(device: str, free: int, base: BaseModel, recipe: Recipe) -> Dtype:
    """Return the format of the base's weights: four bits where the recipe says so, or where, on a GPU, a LoRA's base
    would not fit in sixteen.

    On a CPU four bits are slower, and nobody has them unasked; a model trained as a whole keeps float32 masters anyway.
    """
    if recipe.quantization == "nf4":
        return "nf4"
    usual = dtype_for(device)
    if device == "cpu" or usual != "bfloat16" or recipe.method == "full":
        return usual
    return usual if _room(free, base, recipe, usual) >= SIZES[0] * _token_bytes(base) else "nf4"


def tokens_for(device: str) -> int:
    """Return how many tokens share a forward pass where nobody has looked how many fit."""
    return CPU_TOKENS if device == "cpu" else GPU_TOKENS


def fitting_tokens(device: str, free: int, base: BaseModel, recipe: Recipe, dtype: Dtype) -> int:
    """Return how many tokens of a forward pass fit into ``free`` bytes beside the model and what is trained of it.

    More than ``CPU_TOKENS`` make a CPU no faster. The least of ``SIZES`` is the answer even where that does not fit:
    then memory runs out, and that has its own remedy.
    """
    room = _room(free, base, recipe, dtype) / _token_bytes(base)
    most = min(room, CPU_TOKENS if device == "cpu" else MOST_GPU_TOKENS)
    return max([size for size in SIZES if size <= most], default=SIZES[0])


def _room(free: int, base: BaseModel, recipe: Recipe, dtype: Dtype) -> float:
    """Return the bytes that are left beside the weights, what is trained of them with its moments, and libraries."""
    if recipe.method == "full":
        return SPARED * free - 16 * base.parameters - LIBRARY_BYTES
    weights = base.four_bit_bytes if dtype == "nf4" else BYTES[dtype] * base.parameters
    return SPARED * free - weights - 16 * base.lora_parameters(recipe.rank) - LIBRARY_BYTES


def _token_bytes(base: BaseModel) -> int:
    return ACTIVATION_BYTES * base.layers * base.linear_in_out


def free_bytes(device: str) -> int:
    """Return the memory nobody uses: the GPU's, or what Linux could give this process within its cgroup's limit."""
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(Path("/proc/meminfo")), re.MULTILINE)
    available = int(found[1]) * 1024 if found else 2**62
    return min(available, _room_in(Path("/sys/fs/cgroup")))


def _room_in(cgroup: Path) -> int:
    """Return how far a cgroup (version 2) is from its limit, cached files not counted; plenty where there is none."""
    limit, used = _text(cgroup / "memory.max").strip(), _text(cgroup / "memory.current").strip()
    cached = re.search(r"^inactive_file (\d+)$", _text(cgroup / "memory.stat"), re.MULTILINE)
    if not (limit.isdigit() and used.isdigit()):
        return 2**62
    return int(limit) - int(used) + (int(cached[1]) if cached else 0)


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def see_only(device: str) -> None:
    """Hide every GPU but the device's own; must happen before anything asks CUDA. ``cuda:0,1`` are two together."""
    if device != "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:")


def equal_bytes(device: str, *, fast: bool) -> None:
    """Let a GPU add up in the same order every time, attention's backward pass included; must precede any product.

    A CPU with as many threads does so anyway. What knows no such order is an error on the ``fast`` path, where there is
    nothing of the kind, and a warning of torch's elsewhere.
    """
    if device == "cpu":
        return
    import torch

    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(True, warn_only=not fast)


def most_resident_bytes() -> int:
    """Return the most memory this process has held at once, in bytes; 0 where ``/proc`` is missing."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", _text(Path("/proc/self/status")), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def device_bytes(device: str) -> int:
    """Return the largest GPU memory this process has held, in bytes; 0 on a CPU."""
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated())
