"""A base model small enough to train in seconds: random weights, the shipped tokenizer and template."""

import shutil
from pathlib import Path

from contracts.recipes import SHIPPED_MODEL
from libs.lm.models import NEEDED, known, write_record


def tiny_model(shipped: Path, folder: Path) -> Path:
    """Make a Llama of two layers and width 64 in ``folder``, under the shipped model's name."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in NEEDED[1:]:
        shutil.copy(shipped / name, folder / name)
    write_record(folder, known(SHIPPED_MODEL), "float32")
    return folder
