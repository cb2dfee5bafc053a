"""The model card that travels with every adapter, and with a model that was trained as a whole."""

from contracts.recipes import Recipe

CARD = """---
base_model: {recipe.base_model}
library_name: {library}
tags: [{tags}]
---
# {title} {recipe.base_model}

Trained by Woodshed from the dataset version `{digest}`.

| | |
|---|---|
| method | {method} |
| learning rate | {recipe.learning_rate:g}, cosine, {recipe.warmup_ratio:.0%} warm-up |
| examples to a step | {recipe.batch_size} |
| optimiser steps | {steps} |
| seed | {recipe.seed} |
| training loss at the end | {loss:.4f} nats per trained token |
| run | {run_id} |

`{weights}` has the sha256 `{sha256}`. {load}

What it changed, and what it may have forgotten, stands in the evaluation report of its job.
"""

LOAD_ADAPTER = """Load it on its base model:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("path/to/{recipe.base_model}"), ".")
```"""

LOAD_WHOLE = """Load it by itself:

```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(".")
```"""


def card(recipe: Recipe, run_id: str, digest: str, steps: int, loss: float, sha256: str) -> str:
    """Return the card as Markdown with the front matter Hugging Face reads."""
    kind = _whole() if recipe.method == "full" else _adapter(recipe)
    return CARD.format(recipe=recipe, run_id=run_id, digest=digest, steps=steps, loss=loss, sha256=sha256, **kind)


def _adapter(recipe: Recipe) -> dict[str, str]:
    return {
        "library": "peft",
        "tags": "lora, woodshed",
        "title": "Adapter for",
        "method": f"{recipe.method}, rank {recipe.rank}, alpha {recipe.alpha}, all linear layers{_base_in(recipe)}",
        "weights": "adapter_model.safetensors",
        "load": LOAD_ADAPTER.format(recipe=recipe),
    }


def _base_in(recipe: Recipe) -> str:
    return "" if recipe.quantization == "none" else f", on a base kept in {recipe.quantization} while it was trained"


def _whole() -> dict[str, str]:
    return {
        "library": "transformers",
        "tags": "woodshed",
        "title": "Fine-tuned",
        "method": "full: every weight trained",
        "weights": "model.safetensors",
        "load": LOAD_WHOLE,
    }
