"""A model of next to no size loaded and trained for one step, on nobody's data, and thrown away.

Libraries import and prepare much at their first use. A child that waits for its attempt has this behind it. What it
drew of random numbers is of no consequence: ``model.load`` sets the seed.
"""

import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from contracts.recipes import Recipe
from services.trainer.training import model
from services.trainer.training.data import Row

SIZES = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
ROW = Row(ids=[1, 2, 3, 4], labels=[-100, 2, 3, 4], positions=[0, 1, 2, 3])


def rehearse() -> None:
    """Load, go forward and backward and take one step of the optimiser, on the CPU in bfloat16."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        model.tokenizer(Path(folder))
        loaded = model.load(Path(folder), Recipe(base_model=""), "bfloat16", "cpu")
    optimizer = torch.optim.AdamW([each for each in loaded.parameters() if each.requires_grad], fused=True)
    loaded.row_loss(ROW)[0].backward()
    optimizer.step()


def write(folder: Path) -> None:
    """Write the model and a tokenizer of one word."""
    LlamaForCausalLM(LlamaConfig(**SIZES)).to(torch.bfloat16).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({"word": 0}, "word"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="word", pad_token="word").save_pretrained(folder)
