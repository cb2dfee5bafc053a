"""The model in training: the frozen base, the LoRA on it, and the adapter's files.

Equal recipes give equal bytes: the seed is set before LoRA's random half is drawn, and what is written holds no path
and no set in hash order.
"""

import os
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed

from contracts.recipes import Recipe
from libs.lm.adapters import TARGETS, WEIGHTS, AdapterConfig, write_config
from services.trainer.training import dropout
from services.trainer.training.hardware import Dtype


def load(model_dir: Path, recipe: Recipe, dtype: Dtype, device: str) -> Any:
    """Load the base in ``dtype`` and put a LoRA with float32 weights on all its linear layers, seeded."""
    base: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=getattr(torch, dtype))
    set_seed(recipe.seed)
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(TARGETS),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base.to(device), lora)
    if device == "cpu":
        dropout.use_in(model)
    return model


def tokenizer(model_dir: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer in the form TRL asks for; ids come from ``libs.lm.chat``."""
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(model_dir)
    return loaded


def write_adapter(model: Any, recipe: Recipe, folder: Path) -> None:
    """Write ``adapter_model.safetensors`` (as trained, float32) and ``adapter_config.json`` into ``folder``."""
    from peft import get_peft_model_state_dict

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(weights.items())}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_config(
        folder,
        AdapterConfig(
            base_model_name_or_path=recipe.base_model,
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
        ),
    )


def prepare_process(threads: int, device: str) -> None:
    """Set threads and the one visible GPU; both must happen before the first tensor."""
    if device != "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:")
    torch.set_num_threads(threads)
