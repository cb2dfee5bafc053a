"""Environments of the rivals, made by the bench itself, each beside ours: ``python -m tests.bench.rivals``.

A rival pins other versions than we do, so it gets a virtual environment of its own under ``.bench``, with the newest
versions that it says it works with and the very torch that we use.
"""

import importlib.metadata
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".bench"
LLAMA_FACTORY = (
    "transformers==5.6.0", "accelerate==1.11.0", "peft==0.18.1", "trl==0.24.0", "datasets==4.0.0",
    "einops", "fire", "matplotlib", "modelscope", "omegaconf", "pandas", "pillow", "protobuf", "pydantic", "pyyaml",
    "scipy", "sentencepiece", "tiktoken", "tyro<0.9", "fastapi", "sse-starlette", "uvicorn",
)  # fmt: skip
"""What LLaMA-Factory 0.9.5 needs to train on text, at the newest versions it allows; its web pages are left out."""
KERNELS = ("liger-kernel",)
"""What it uses besides on a GPU when it is at its best, and cannot do without once asked to. FlashAttention has to be
built: whoever wants it there installs ``flash-attn`` into the environment, and it is used."""


def llama_factory(device: str = "cpu") -> Path:
    """Return the Python that has LLaMA-Factory; the first call installs it, which takes minutes."""
    home = FOLDER / ("llamafactory-0.9.5" if device == "cpu" else "llamafactory-0.9.5-gpu")
    python = home / "bin" / "python"
    done = home / "installed"
    if not done.exists():
        print(f"installing LLaMA-Factory into {home.relative_to(FOLDER.parent)}", file=sys.stderr, flush=True)
        venv.create(home, clear=True, with_pip=True)
        torch = importlib.metadata.version("torch").partition("+")[0]
        _install(python, f"torch=={torch}", *LLAMA_FACTORY, *(() if device == "cpu" else KERNELS))
        _install(python, "--no-deps", "llamafactory==0.9.5")
        done.touch()
    return python


def _install(python: Path, *what: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *what], check=True)


if __name__ == "__main__":
    print(llama_factory())
