"""What a checkpoint holds of tensors: what is trained and the optimiser's state, gathered, copied, and put back.

Sharded or not, what goes to disk is whole and in main memory, so a checkpoint reads the same however many processes
wrote it. Copies are taken at a step's end: training may go on while they are written.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.trainer.training.checkpoints import WEIGHTS


def trained(model: Any, method: str) -> dict[str, Tensor]:
    """Return what training changes by the name it has on disk, in name order: the adapter, or the whole model."""
    if method == "full":
        weights = model.state_dict()
        if model.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
    else:
        from peft import get_peft_model_state_dict

        weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    return dict(sorted(weights.items()))


def copied(value: Any, over: Any = None) -> Any:
    """Copy nested tensors to main memory; sharded ones are gathered, so every process must ask for the same.

    ``over`` is an earlier copy of the same that may be overwritten: its memory need not be found again, which takes
    longer than copying.
    """
    if isinstance(value, Tensor):
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        return whole.detach().to("cpu", copy=True).contiguous() if over is None else over.copy_(whole.detach())
    if isinstance(value, dict):
        return {name: copied(each, over and over[name]) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(each, over and over[at]) for at, each in enumerate(value))
    return value


def write_weights(weights: dict[str, Tensor], method: str, folder: Path) -> None:
    """Write weights as safetensors under the name that ``method`` gives them."""
    save_file(weights, folder / WEIGHTS[method], metadata={"format": "pt"})


def read_weights(model: Any, method: str, folder: Path) -> None:
    """Put a checkpoint's weights into a model that is not sharded yet."""
    weights = load_file(folder / WEIGHTS[method])
    if method == "full":
        model.load_state_dict(weights, strict=not model.config.tie_word_embeddings)
    else:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, weights)


def read_optimizer(optimizer: Any, file: Path) -> None:
    """Put a checkpoint's optimiser state back, each process taking its part of what is sharded."""
    saved = torch.load(file, map_location="cpu", weights_only=True)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for number, kept in saved["state"].items():
        saved["state"][number] = {name: _spread(each, parameters[number]) for name, each in kept.items()}
    optimizer.load_state_dict(saved)


def _spread(value: Any, like: Tensor) -> Any:
    """Shard a whole tensor as ``like`` is; counters and what is not sharded stay as they are."""
    if not hasattr(like, "full_tensor") or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
