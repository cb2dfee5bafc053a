"""The training of LLaMA-Factory in a plain script, to be run by the Python of its own environment (``rivals``).

``PYTHON tests/bench/plain_llamafactory.py MODEL_DIR TRAIN.json OUT_DIR`` trains a LoRA as its examples do (batch 1,
accumulated, padded, gradient checkpointing, bf16 autocast). With ``--best`` its documented ways to be faster are on:
``neat_packing`` (packing without leaks between neighbours), no gradient checkpointing, and on a GPU ``pure_bf16`` (it
refuses that on CPUs), its Liger kernels, and FlashAttention where its environment has it, which wants all rows of a
pass in one. Prints one JSON line as ``plain_trl`` does; the first step is left out of the times.
"""

import argparse
import json
import os
import resource
import sys
import time
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", DISABLE_VERSION_CHECK="1")
sounds = ModuleType("torchaudio")  # imported for sounds alone, of which there are none here
sounds.__spec__ = ModuleSpec("torchaudio", None)
sys.modules.setdefault("torchaudio", sounds)

DATA = {
    "lessons": {
        "file_name": "",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("out")
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--row", type=int, default=768)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--accumulate", type=int, default=8)
    asked = parser.parse_args()

    import torch
    import transformers
    from llamafactory.train.tuner import run_exp

    torch.set_num_threads(asked.threads)
    folder = Path(asked.out)
    folder.mkdir(parents=True, exist_ok=True)
    DATA["lessons"]["file_name"] = str(Path(asked.train).resolve())
    (folder / "dataset_info.json").write_text(json.dumps(DATA))
    on_gpu = asked.device != "cpu"
    flash = on_gpu and find_spec("flash_attn") is not None
    best = {
        ("pure_bf16" if on_gpu else "bf16"): True,
        "neat_packing": True,
        "packing": True,
        "cutoff_len": asked.row * (asked.rows if flash else 1),
        "disable_gradient_checkpointing": True,
        "enable_liger_kernel": on_gpu,
        "flash_attn": "fa2" if flash else "auto",
        "per_device_train_batch_size": 1 if flash else asked.rows,
    }
    wish: dict[str, Any] = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "model_name_or_path": asked.model,
        "dataset": "lessons",
        "dataset_dir": str(folder),
        "template": "smollm2",
        "output_dir": str(folder / "out"),
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "lora_target": "all",
        "cutoff_len": 2048,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": asked.accumulate,
        "learning_rate": 2.0e-4,
        "lr_scheduler_type": "cosine",
        "max_steps": asked.steps,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 42,
        "use_cpu": not on_gpu,
        **(best if asked.best else {"bf16": True}),
    }

    counted: dict[str, Any] = {"tokens": 0, "taught": 0}  # of the device: a GPU is not to be waited for in a step
    passed = transformers.Trainer.training_step

    def counting(self: Any, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        counted["tokens"] += _real(inputs).sum()
        counted["taught"] += (inputs["labels"][:, 1:] != -100).sum()
        return passed(self, model, inputs, *rest, **more)

    transformers.Trainer.training_step = counting
    stamps: list[tuple[float, int, int, float]] = []

    class Stamp(transformers.TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            if on_gpu:
                torch.cuda.synchronize()
            now, cpu = time.perf_counter(), time.process_time()
            stamps.append((now, int(counted["tokens"]), int(counted["taught"]), cpu))

    run_exp(wish, [Stamp()])
    seconds, tokens, taught, cpu = (stamps[-1][at] - stamps[0][at] for at in range(4))
    figures = {
        "tokens_per_second": tokens / seconds,
        "taught_per_second": taught / seconds,
        "tokens_per_cpu_second": tokens / cpu,
        "steps": len(stamps),
        "peak_bytes": torch.cuda.max_memory_allocated()
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(figures))


def _real(inputs: dict[str, Any]) -> Any:
    """Tell which tokens are no padding: with FlashAttention there is none in a packed row, and no mask."""
    mask = inputs.get("attention_mask")
    if mask is None:
        return inputs["input_ids"] >= 0
    return mask[:, 0].diagonal(dim1=-2, dim2=-1) > -1 if mask.dim() == 4 else mask > 0


if __name__ == "__main__":
    main()
