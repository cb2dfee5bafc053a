"""Root mean square norms as one operation; for CPUs.

transformers' own takes four passes over float32 copies and keeps one of them for the backward pass. Here the input is
kept as it came, and one number a token. Values are rounded where transformers rounds them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.linalg import vecdot, vector_norm

NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm")
"""transformers' classes whose formula is this one (Zhang and Sennrich 2019, equation 4), by their names: importing all
of them takes time."""


class Normed(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """``x`` (…, size) divided by the root of its mean square, in float32, times a frozen ``weight`` (size,)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, least: float) -> Tensor:
        """Divide, round to the format of ``x``, and multiply; ``least`` is added to the mean square."""
        exact = x.to(torch.float32, copy=True)
        inverse = vector_norm(exact, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(least).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return exact.mul_(inverse).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of ``x``: what of the slope does not merely lengthen it."""
        x, weight, inverse = ctx.saved_tensors
        slope, normed = (slopes[0] * weight).float(), x.float() * inverse
        along = vecdot(slope, normed)[..., None] / -x.shape[-1]
        return slope.addcmul_(normed, along).mul_(inverse).to(x.dtype), None, None


class OnePass(nn.Module):  # type: ignore[misc, unused-ignore]
    """A norm of transformers' whose weight is frozen; never made anew, only what ``use_in`` turns one into."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, x: Tensor) -> Tensor:
        """Divide and multiply; shapes as in ``nn.RMSNorm``."""
        normed: Tensor = Normed.apply(x, self.weight, self.variance_epsilon)
        return normed


def use_in(model: nn.Module) -> None:
    """Let every norm of the known kinds that is not trained compute so."""
    for module in model.modules():
        if type(module).__name__ in NORMS and not module.weight.requires_grad:
            module.__class__ = OnePass
