"""A LoRA and the frozen layer under it as one operation.

PEFT casts the layer's input to float32, drops, multiplies twice, scales, adds and casts back: ten passes over float32
numbers for two small products, which on a GPU are float32 products, too, some fifteen times slower than those in
sixteen bits. Here the products are in the frozen weight's format, as autocast has it, the second one
is added to the layer's output by the product itself, and what the backward pass needs is the input as it came, the
draws of the dropout and the ``rank`` numbers a token between the two. What is trained stays float32, and so do its
gradients.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from services.trainer.training.dropout import Dropout


class Product(torch.autograd.Function):  # type: ignore[misc, unused-ignore]
    """``x`` (…, in) times ``weight`` (out, in) and ``bias``, plus ``scale`` · (dropped x) · ``down``ᵀ · ``up``ᵀ.

    ``down`` (rank, in) and ``up`` (out, rank) have gradients in their own format, the frozen weight and bias none.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float,
        dropout: Dropout | None,
    ) -> Tensor:  # fmt: skip
        """Multiply; the scale of LoRA and of its dropout go into the smallest factor."""
        scale *= dropout.scale if dropout else 1.0
        draws = dropout.draws(x) if dropout else None
        down, up = down.to(x.dtype), (up * scale).to(x.dtype)
        between = _flat(_lost(x, dropout, draws)) @ down.T
        product = linear(x, weight, bias)
        _flat(product).addmm_(between, up.T)
        ctx.save_for_backward(x, draws, between, weight, down, up)
        ctx.scale, ctx.dropout = scale, dropout
        return product

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x`` (added up by the frozen weight's product), ``down`` and ``up``."""
        x, draws, between, weight, down, up = ctx.saved_tensors
        slope = _flat(slopes[0])
        inner = slope @ up
        of_up = (slope.T @ between).float().mul_(ctx.scale)
        of_down = (inner.T @ _flat(_lost(x, ctx.dropout, draws))).float()
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = _lost((inner @ down).view(x.shape), ctx.dropout, draws)
            _flat(of_x).addmm_(slope, weight)
        return of_x, None, None, of_down, of_up, None, None


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _lost(x: Tensor, dropout: Dropout | None, draws: Tensor | None) -> Tensor:
    return x if dropout is None or draws is None else dropout.lose(x, draws)


class Together(Linear):  # type: ignore[misc, unused-ignore]
    """PEFT's layer, multiplying by ``Product`` where its formula is the plain one, and as PEFT does elsewhere."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Multiply; shapes as in ``nn.Linear``."""
        base, name = self.base_layer, self.active_adapters[0]
        if args or kwargs or self.disable_adapters or self.merged or not self._plain(x):
            return super().forward(x, *args, **kwargs)  # type: ignore[no-any-return, unused-ignore]
        weight = base.weight.T if isinstance(base, Conv1D) else base.weight
        dropout = self.lora_dropout[name]
        product: Tensor = Product.apply(
            x,
            weight,
            base.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
            dropout if dropout.training and isinstance(dropout, Dropout) else None,
        )
        return product

    def _plain(self, x: Tensor) -> bool:
        """Tell whether one LoRA as it was first published lies on a frozen matrix in the format of ``x``."""
        name = self.active_adapters[0]
        weight = self.base_layer.weight
        return (
            len(self.active_adapters) == 1
            and name in self.lora_A
            and name not in self.lora_variant
            and not self.lora_bias[name]
            and isinstance(self.lora_dropout[name], Dropout | nn.Identity)
            and weight.dtype == x.dtype
            and not weight.requires_grad
            and not torch.is_autocast_enabled(x.device.type)
        )


def use_in(model: nn.Module) -> None:
    """Let every LoRA of a PEFT model that lies on a plain linear layer multiply so."""
    for module in model.modules():
        if type(module) is Linear and type(module.base_layer) in (nn.Linear, Conv1D):
            module.__class__ = Together
