"""A training step of next to no size, on nobody's data, whose result is thrown away.

Libraries import and prepare much at their first use. A child that waits for its attempt has this behind it.
"""

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from services.trainer.training.data import Row
from services.trainer.training.loss import row_loss

SIZES = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
ROW = Row(ids=[1, 2, 3, 4], labels=[-100, 2, 3, 4], positions=[0, 1, 2, 3])


def step() -> None:
    """Forward, backward and one step of the optimiser, on the CPU in bfloat16."""
    base = LlamaForCausalLM(LlamaConfig(**SIZES)).to(torch.bfloat16)
    model = get_peft_model(base, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], fused=True)
    row_loss(model, ROW)[0].backward()
    optimizer.step()
