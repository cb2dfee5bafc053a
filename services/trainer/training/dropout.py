"""Dropout for CPUs: the same distribution as torch's, several times cheaper.

torch draws a double for every element, one thread at a time; with dropout on the input of every linear layer that was a
quarter of a step here. Sixteen random bits decide an element instead, and where that is bfloat16 one pass applies them.
Draws come from torch's own generator, so a checkpoint's random state covers them and a resumed run sees the same masks.
"""

from math import isqrt

import torch
from torch import Tensor, nn

_STEPS = 2**16
_HIGHEST = -128
"""Of all bfloat16 numbers minus infinity is the least; its bits, read as an integer, are the highest of the negative
ones that are numbers at all. The ``cut`` least numbers have the bits from here downwards."""
_MOST = 32640
"""How many negative numbers there are in bfloat16; zero, which has two signs, is none of them."""


class SixteenBitDropout(nn.Module):  # type: ignore[misc, unused-ignore]
    """Zero each element with probability ``p`` (to the nearest 1/65,536) and scale the others by 1 / (1 - p)."""

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
    """Return at least ``count`` random words of 64 bits, from the square root of so many draws.

    The generator makes one after the other, on one core. The sums of each of some with each of others are all
    different, and SplitMix64's last step (Steele, Lea, Flood 2014) makes of different words such that look random.
    """
    rows = isqrt(count) + 1
    drawn = torch.empty(2 * rows, dtype=torch.int64).random_(-(2**63), None)
    words = drawn[:rows, None] + drawn[rows:]
    _folded(words, 30).mul_(-0x40A7B892E31B1A47)
    _folded(words, 27).mul_(-0x6B2FB644ECCEEE15)
    return _folded(words, 31).view(-1)


def _folded(words: Tensor, shift: int) -> Tensor:
    """Change the lower bits of words by their upper ones; torch shifts with the sign, which is no bit of the word's."""
    return words.bitwise_xor_((words >> shift).bitwise_and_(2 ** (64 - shift) - 1))


def _number(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int16).view(torch.bfloat16))


def use_in(model: nn.Module) -> None:
    """Put it in the place of every ``nn.Dropout`` of a PEFT model's LoRA layers."""
    for module in model.modules():
        for name, layer in getattr(module, "lora_dropout", nn.ModuleDict()).items():
            if isinstance(layer, nn.Dropout):
                module.lora_dropout[name] = SixteenBitDropout(layer.p)
