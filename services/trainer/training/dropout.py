"""Dropout whose draws are kept apart from what they are applied to, so that a backward pass can apply them again.

On a CPU it has the same distribution as torch's and is several times cheaper: torch draws a double for every element,
one thread at a time; with dropout on the input of every linear layer that was a quarter of a step here. Sixteen random
bits decide an element instead, and where that is bfloat16 one pass applies them. Every draw begins with a seed from
torch's own generator, so a checkpoint's random state covers it and a resumed run sees the same masks. A GPU draws with
torch's generator of its own, which a checkpoint holds as well, and one byte an element is kept.
"""

from abc import ABC, abstractmethod

import numpy
import torch
from torch import Tensor, nn

_STEPS = 2**16
_HIGHEST = -128
"""Of all bfloat16 numbers minus infinity is the least; its bits, read as an integer, are the highest of the negative
ones that are numbers at all. The ``cut`` least numbers have the bits from here downwards."""
_MOST = 32640
"""How many negative numbers there are in bfloat16; zero, which has two signs, is none of them."""


class Dropout(nn.Module, ABC):  # type: ignore[misc, unused-ignore]
    """Zero each element with a probability and multiply the others by ``scale``."""

    scale: float

    @abstractmethod
    def draws(self, x: Tensor) -> Tensor:
        """Draw for each element of ``x``, in its shape."""

    @abstractmethod
    def lose(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return ``x`` with a zero for each element whose draw loses, the others not yet scaled."""


class MaskDropout(Dropout):
    """Draw a mask where ``x`` lies: one pass for it and one to apply it, on any device."""

    def __init__(self, p: float) -> None:
        """Take the probability, below 1."""
        super().__init__()
        self.scale = 1 / (1 - p)
        self._p = p

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training, pass through otherwise; by torch's own, where nobody asks for the draws."""
        return torch.nn.functional.dropout(x, self._p, self.training)

    def draws(self, x: Tensor) -> Tensor:
        """Draw which elements stay."""
        return torch.empty(x.shape, dtype=torch.bool, device=x.device).bernoulli_(1 - self._p)

    def lose(self, x: Tensor, draws: Tensor) -> Tensor:
        """Keep what is to stay."""
        return x * draws


class SixteenBitDropout(Dropout):
    """Draw sixteen bits for each element on a CPU, which holds the probability to the nearest 1/65,536."""

    def __init__(self, p: float) -> None:
        """Take the probability, below 1."""
        super().__init__()
        cut = round(p * _STEPS)
        self.scale = _STEPS / (_STEPS - cut)
        self._cut = cut - _STEPS // 2
        self._least = _number(_HIGHEST - cut + 1) if 0 < cut <= _MOST else None

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training, pass through otherwise."""
        return self.lose(x, self.draws(x)) * self.scale if self.training else x

    def draws(self, x: Tensor) -> Tensor:
        """Draw sixteen bits for each element of ``x``, in its shape."""
        return _random((x.numel() + 3) // 4).view(torch.int16)[: x.numel()].view(x.shape)

    def lose(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return ``x`` with a zero for each element whose draw is among the losing ones, the others not yet scaled.

        Read as bfloat16, a draw loses where it is one of the ``cut`` least numbers: that is the comparison, and the
        choice with it, that the slope of ``threshold`` consists of.
        """
        if x.dtype == torch.bfloat16 and self._least is not None:
            return torch.ops.aten.threshold_backward(x, draws.view(torch.bfloat16), self._least)
        return x * (draws >= self._cut)


def _random(count: int) -> Tensor:
    """Return random words of 64 bits, made by numpy's fastest generator from a seed that torch's draws."""
    seed = int(torch.empty((), dtype=torch.int64).random_(0, None))
    return torch.from_numpy(numpy.random.SFC64(seed).random_raw(count).view(numpy.int64))


def _number(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int16).view(torch.bfloat16))


def use_in(model: nn.Module, kind: type[MaskDropout | SixteenBitDropout] = SixteenBitDropout) -> None:
    """Put it in the place of every ``nn.Dropout`` of a PEFT model's LoRA layers."""
    for module in model.modules():
        for name, layer in getattr(module, "lora_dropout", nn.ModuleDict()).items():
            if isinstance(layer, nn.Dropout):
                module.lora_dropout[name] = kind(layer.p)
