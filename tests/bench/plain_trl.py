"""The rival: TRL in a plain script, nothing of Woodshed's in it, for the bench to stand beside.

``python tests/bench/plain_trl.py MODEL_DIR TRAIN.parquet OUT_DIR`` trains with the recipe Woodshed uses
(packed, bf16 weights, no gradient checkpointing, loss on replies only). With ``--defaults`` it leaves TRL's
own defaults alone (batch 8, padded, gradient checkpointing, fp32 weights under bf16 autocast) and only
asks for LoRA. Prints one JSON line: tokens, seconds, tokens_per_second,
tokens_per_cpu_second, peak_rss_bytes, losses; the first step is left out of the times.
"""

import argparse
import json
import os
import resource
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def turns(rows: list[str]) -> list[dict[str, object]]:
    """Give each conversation as TRL's prompt/completion: the last reply is the completion."""
    conversations = [json.loads(row) for row in rows]
    return [{"prompt": each[:-1], "completion": each[-1:]} for each in conversations]


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
    asked = parser.parse_args()

    import pyarrow.parquet
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(asked.threads)
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    dtype = torch.float32 if asked.defaults else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(asked.model, dtype=dtype)
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    rows = pyarrow.parquet.read_table(asked.train)["messages"].to_pylist()
    common = {"output_dir": asked.out, "max_steps": asked.steps, "use_cpu": not torch.cuda.is_available()}
    common |= {"report_to": "none", "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True, "seed": 42}
    tuned = {
        "max_length": asked.row,
        "packing": True,
        "per_device_train_batch_size": asked.rows,
        "gradient_accumulation_steps": asked.accumulate,
        "gradient_checkpointing": False,
        "bf16": False,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "weight_decay": 0.0,
        "dataloader_pin_memory": False,
    }
    args = SFTConfig(**common, **({} if asked.defaults else tuned))
    trainer = SFTTrainer(
        model, args, train_dataset=Dataset.from_list(turns(rows)), processing_class=tokenizer, peft_config=lora
    )

    stamps: list[tuple[float, int, float]] = []

    class Stamp(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append((time.perf_counter(), int(trainer._total_train_tokens), time.process_time()))

    trainer.add_callback(Stamp())
    trainer.train()
    seconds, tokens, cpu = (stamps[-1][i] - stamps[0][i] for i in range(3))
    figures = {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "tokens_per_cpu_second": tokens / cpu,
        "steps": len(stamps),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "losses": [each["loss"] for each in trainer.state.log_history if "loss" in each],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
