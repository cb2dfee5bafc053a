"""Loads both models, in the precision this machine measures best in, and notes what measured."""

import platform
from importlib.metadata import version
from pathlib import Path

import torch

from libs.lm import generate
from libs.lm.generate import Loaded
from libs.lm.models import RECORD, record_of
from services.evaluator.scoring.shapes import Machine

LIBRARIES = ("torch", "transformers", "peft", "tokenizers")


def load(base: str, adapter: str, *, threads: int, precision: str) -> tuple[Loaded, Machine]:
    """Load the base with the adapter on it; ``BadAdapter`` when that cannot be."""
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = precision_for(precision, device)
    loaded = generate.load(Path(base), Path(adapter), dtype=dtype, device=device)
    return loaded, Machine(
        device=device,
        precision=dtype,
        threads=torch.get_num_threads(),
        base_revision=_revision(Path(base)),
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    )


def precision_for(asked: str, device: str) -> str:
    """Return what was asked; ``auto`` is bfloat16 where the hardware multiplies it, else float32."""
    if asked != "auto":
        return asked
    fast = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def _revision(base: Path) -> str:
    return record_of(base).revision if (base / RECORD).is_file() else ""
