"""A run on a base in four bits, undisturbed and gone on with: ``python -m … MODEL FOLDER`` prints what came of both.

A process of its own, because what peft can do is decided when it is imported, and other tests hide bitsandbytes.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file

from services.trainer.training import metrics
from services.trainer.training.checkpoints import WEIGHTS
from services.trainer.training.protocol import Finished, Remarked
from tests.integration.training.runs import Calm, carry_out, changed, spec_in


@dataclass(frozen=True)
class Seen:
    """Of each step the loss and the norm of the gradient; what was remarked; the adapters' digests, and whether their
    numbers are finer than bfloat16's.
    """

    losses: list[float]
    norms: list[float]
    remarks: list[str]
    digests: list[str]
    fine: bool


def main(model: Path, folder: Path) -> Seen:
    """Two passes of three steps, each followed by an evaluation; then the last two steps once more."""
    spec = spec_in(folder, model)
    spec = changed(spec, recipe=msgspec.structs.replace(spec.recipe, quantization="nf4", epochs=2))
    calm = Calm(spec, carry_out(spec))
    again = carry_out(
        changed(spec, attempt=2, fence=2, work_dir=str(folder / "again"), resume_from=str(calm.checkpoint(4)))
    )
    curve = metrics.read(calm.result)
    weights = load_file(calm.result / WEIGHTS["lora"])
    return Seen(
        losses=[each.train_loss for each in curve],
        norms=[each.grad_norm for each in curve],
        remarks=[each.code for each in calm.lines if isinstance(each, Remarked)],
        digests=[each.digest for each in (*calm.lines, *again) if isinstance(each, Finished)],
        fine=any(bool((each != each.to(torch.bfloat16).float()).any()) for each in weights.values()),
    )


if __name__ == "__main__":
    print(json.dumps(vars(main(Path(sys.argv[1]), Path(sys.argv[2])))))
