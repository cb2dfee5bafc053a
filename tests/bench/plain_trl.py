"""The same training with TRL in a plain script, nothing of Woodshed's in it, for the bench to stand beside.

``python tests/bench/plain_trl.py MODEL_DIR TRAIN.parquet OUT_DIR`` trains with the recipe Woodshed uses
(packed, bf16 weights, no gradient checkpointing; on a GPU under bf16 autocast, which multiplies the LoRA in bf16 too,
and with what of FlashAttention, ``kernels`` (which fetches it from the hub) and Liger is installed). With
``--defaults`` it leaves TRL's own defaults alone (batch 8, padded, gradient checkpointing, fp32 weights under bf16
autocast) and only asks for LoRA. The data is tokenised (columns ``input_ids`` and ``labels``), so what is taught is
what Woodshed teaches. Prints one JSON line: tokens_per_second, taught_per_second, tokens_per_cpu_second, peak_bytes
(of the GPU where there is one), losses; the first step is left out of the times.
"""

import argparse
import json
import os
import resource
import time
from importlib.util import find_spec
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "0" if find_spec("kernels") else "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("out")
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--row", type=int, default=512)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()

    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(asked.threads)
    on_gpu = asked.device != "cpu"
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    dtype = torch.float32 if asked.defaults else torch.bfloat16
    flash = on_gpu and (find_spec("flash_attn") or find_spec("kernels"))
    fast = {"attn_implementation": "flash_attention_2"} if flash else {}
    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=dtype, **({} if asked.defaults else fast))
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    common = {"output_dir": asked.out, "max_steps": asked.steps, "use_cpu": not on_gpu}
    common |= {"report_to": "none", "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "seed": 42}
    # Rows of a pass become one; only FlashAttention does not pay for the square of it.
    rows, passes = (asked.rows, asked.accumulate) if flash else (1, asked.rows * asked.accumulate)
    tuned = {
        "max_length": asked.row,
        "packing": True,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": passes,
        "gradient_checkpointing": False,
        "bf16": on_gpu,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "weight_decay": 0.0,
        "dataloader_pin_memory": on_gpu,
        "use_liger_kernel": on_gpu and find_spec("liger_kernel") is not None,
    }
    args = SFTConfig(**common, **({} if asked.defaults else tuned))
    counted: dict[str, Any] = {"tokens": 0, "taught": 0}  # of the device: a GPU is not to be waited for in a step

    class Counting(SFTTrainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
            real = inputs["attention_mask"] if "attention_mask" in inputs else torch.ones_like(inputs["input_ids"])
            counted["tokens"] += (real > 0).sum()
            counted["taught"] += (inputs["labels"][:, 1:] != -100).sum()
            return super().training_step(model, inputs, *rest, **more)

    trainer = Counting(
        model, args, train_dataset=Dataset.from_parquet(asked.train), processing_class=tokenizer, peft_config=lora
    )
    stamps: list[tuple[float, int, int, float]] = []

    class Stamp(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            if on_gpu:
                torch.cuda.synchronize()
            now, cpu = time.perf_counter(), time.process_time()
            stamps.append((now, int(counted["tokens"]), int(counted["taught"]), cpu))

    trainer.add_callback(Stamp())
    trainer.train()
    seconds, tokens, taught, cpu = (stamps[-1][at] - stamps[0][at] for at in range(4))
    figures = {
        "tokens_per_second": tokens / seconds,
        "taught_per_second": taught / seconds,
        "tokens_per_cpu_second": tokens / cpu,
        "steps": len(stamps),
        "peak_bytes": torch.cuda.max_memory_allocated()
        if on_gpu
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "losses": [each["loss"] for each in trainer.state.log_history if "loss" in each],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
