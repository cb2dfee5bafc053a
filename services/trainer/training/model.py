"""The model in training: the frozen base with a LoRA on it, or the whole base, and the files of what came of it.

Equal recipes give equal bytes: the seed is set before LoRA's random half is drawn, and what is written holds no path
and no set in hash order.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any, get_args

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed
from transformers.pytorch_utils import Conv1D

from contracts.recipes import Recipe
from libs.lm.adapters import AdapterConfig, Target, write_config
from libs.lm.models import NEEDED, UnknownModel, record_of
from services.trainer.training import attention, dropout, lora, norms, plain
from services.trainer.training.data import Row
from services.trainer.training.families import Way, way_of
from services.trainer.training.gang import ALONE, Gang, shard
from services.trainer.training.hardware import Dtype, Head, Kernels, dtype_for, kernels_for
from services.trainer.training.loss import row_loss
from services.trainer.training.preferring import pair_loss
from services.trainer.training.state import read_weights, write_weights


def load(
    model_dir: Path, recipe: Recipe, dtype: Dtype, device: str, *, gang: Gang = ALONE, resume: Path | None = None
) -> Any:
    """Load the base as ``recipe.method`` wants it, seeded, with a checkpoint's weights, spread over the gang.

    A LoRA has float32 weights on all linear layers of a frozen base in ``dtype``; a whole model trains in float32 and
    only multiplies in ``dtype``, else small updates would be rounded away. ``model.row_loss(row)`` is its forward.
    """
    full = recipe.method == "full"
    base: Any = AutoModelForCausalLM.from_pretrained(model_dir, **_format("float32" if full else dtype, device))
    if dtype == "nf4":
        _as_it_was_quantised(base)
    model = fitted(base, recipe, way_of(model_dir, recipe.max_length), kernels_for(device, dtype), device)
    if resume:
        read_weights(model, recipe.method, resume)
    return shard(model if gang.size > 1 or dtype == "nf4" else model.to(place(device)), gang, device)


def fitted(base: Any, recipe: Recipe, way: Way, kernels: Kernels, device: str) -> Any:
    """Make of a base what is trained, with its ``row_loss``; it lies where it lay and is yet to go to the device."""
    _without_own_dropout(base)
    set_seed(recipe.seed)
    if way.fast:
        attention.use_in(base, kernels.attention)
        _with_liger(base, kernels)
    model = base if recipe.method == "full" else _with_lora(base, recipe, way, device)
    model.row_loss = MethodType(_forward(recipe, way, kernels.head), model)
    return model


def _format(dtype: Dtype, device: str) -> dict[str, Any]:
    """Return how transformers is asked for weights in a format; in four bits (Dettmers et al. 2023) they are made where
    they will be used.

    bitsandbytes must not be hidden then, see ``__main__``.
    """
    if dtype != "nf4":
        return {"dtype": getattr(torch, dtype)}
    from transformers import BitsAndBytesConfig

    computing = getattr(torch, dtype_for(device))
    bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=computing,
    )
    return {"dtype": computing, "quantization_config": bits, "device_map": {"": "cpu" if device == "cpu" else 0}}


def _as_it_was_quantised(base: Any) -> None:
    """Keep others from changing a model in four bits.

    bitsandbytes packs weights anew in the first evaluation on CPUs with AVX512-BF16, and gradients that pass them are
    others, or none, from then on; TRL rounds what is trained to bfloat16 where it sees ``is_loaded_in_4bit``, which no
    small update outlives.
    """
    base.is_loaded_in_4bit = False
    for part in base.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False


def _forward(recipe: Recipe, way: Way, head: Head) -> Callable[[Any, Row], tuple[Tensor, ...]]:
    if recipe.objective == "dpo":
        return pair_loss(recipe.beta, None if way.fast else plain.replies)
    if not way.fast:
        return plain.row_loss
    return row_loss if head == "chunks" else lambda model, row: row_loss(model, row, head)


def _with_liger(base: Any, kernels: Kernels) -> None:
    """Put Liger's norms, rotations and gates into a model where they are wanted; the head stays ``row_loss``'s."""
    if kernels.liger:
        from liger_kernel.transformers.monkey_patch import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(base, fused_linear_cross_entropy=False, cross_entropy=False)


def _without_own_dropout(base: Any) -> None:
    """Leave the recipe's dropout the only one: a base's own would make the reference of pairs another at each look."""
    for part in base.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
        elif isinstance(getattr(part, "attention_dropout", None), float):
            part.attention_dropout = 0.0


def _with_lora(base: Any, recipe: Recipe, way: Way, device: str) -> Any:
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(targets_in(base, way)),
        task_type="CAUSAL_LM",
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in base.modules()),
    )
    model = get_peft_model(base, config)
    dropout.use_in(model, dropout.GapDropout if device == "cpu" else dropout.MaskDropout)
    lora.use_in(model)
    if device == "cpu":
        norms.use_in(model)
    return model


def targets_in(base: Any, way: Way) -> tuple[Target, ...]:
    """Return the names of the linear layers that get a LoRA; ``UnknownModel`` where it has none with a known name."""
    if way.family:
        return way.family.targets
    linear = {name.rsplit(".", 1)[-1] for name, part in base.named_modules() if isinstance(part, nn.Linear | Conv1D)}
    found = tuple(name for name in get_args(Target) if name in linear)
    if not found:
        raise UnknownModel(
            f"{type(base).__name__} has no linear layer by a name Woodshed knows, so there is nothing to put a LoRA "
            "on. Train every weight (method full), or choose another base model."
        )
    return found


def tokenizer(model_dir: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer in the form TRL asks for; ids come from ``libs.lm.chat``."""
    loaded: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(model_dir)
    return loaded


def write_result(weights: dict[str, Tensor], recipe: Recipe, model_dir: Path, folder: Path) -> None:
    """Write what training gives: an adapter as trained (float32) with its configuration, or a whole model.

    A whole model is a folder like its base's, in the base's number format, tokenizer and template included.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if recipe.method == "full":
        stored = getattr(torch, record_of(model_dir).dtype)
        weights = {name: each.to(stored) for name, each in weights.items()}
        for name in NEEDED:
            shutil.copyfile(model_dir / name, folder / name)
    else:
        write_config(folder, _config(recipe, weights))
    write_weights(weights, recipe.method, folder)


def _config(recipe: Recipe, weights: dict[str, Tensor]) -> AdapterConfig:
    trained = {name.split(".")[-3] for name in weights}
    return AdapterConfig(
        target_modules=tuple(name for name in get_args(Target) if name in trained),
        base_model_name_or_path=recipe.base_model,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
    )


def place(device: str) -> str:
    """Return torch's name of the device once ``see_only`` has hidden all others."""
    return "cpu" if device == "cpu" else "cuda:0"
