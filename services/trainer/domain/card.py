"""The model card that travels with every adapter."""

from contracts.recipes import Recipe

CARD = """---
base_model: {recipe.base_model}
library_name: peft
tags: [lora, woodshed]
---
# Adapter for {recipe.base_model}

Trained by Woodshed from the dataset version `{digest}`.

| | |
|---|---|
| method | {recipe.method}, rank {recipe.rank}, alpha {recipe.alpha}, all linear layers |
| learning rate | {recipe.learning_rate:g}, cosine, {recipe.warmup_ratio:.0%} warm-up |
| examples to a step | {recipe.batch_size} |
| optimiser steps | {steps} |
| seed | {recipe.seed} |
| training loss at the end | {loss:.4f} nats per trained token |
| run | {run_id} |

`adapter_model.safetensors` has the sha256 `{sha256}`. Load it on its base model:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("path/to/{recipe.base_model}"), ".")
```

What it changed, and what it may have forgotten, stands in the evaluation report of its job.
"""


def card(recipe: Recipe, run_id: str, digest: str, steps: int, loss: float, sha256: str) -> str:
    """Return the card as Markdown with the front matter Hugging Face reads."""
    return CARD.format(recipe=recipe, run_id=run_id, digest=digest, steps=steps, loss=loss, sha256=sha256)
