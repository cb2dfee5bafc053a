"""Dropout whose draws are kept apart from what they are applied to, so that a backward pass can apply them again.

On a CPU it has the same distribution as torch's and is several times cheaper: torch draws a double for every element,
one thread at a time; with dropout on the input of every linear layer that was a quarter of a step here. What is drawn
instead are the gaps from one lost element to the next, which for one in twenty are a twentieth of the numbers, and only
those places are kept. Every draw begins with a seed from torch's own generator, so a checkpoint's random state covers
it and a resumed run sees the same masks. A GPU draws with torch's generator of its own, which a checkpoint holds as
well, and one byte an element is kept.
"""

import math
from abc import ABC, abstractmethod

import numpy
import torch
from torch import Tensor, nn


class Dropout(nn.Module, ABC):  # type: ignore[misc, unused-ignore]
    """Zero each element with a probability and multiply the others by ``scale``."""

    scale: float

    @abstractmethod
    def draws(self, x: Tensor) -> Tensor:
        """Draw which elements of ``x`` are lost."""

    @abstractmethod
    def lose(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return ``x`` with a zero for each element that is lost by these draws, the others not yet scaled."""


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


class GapDropout(Dropout):
    """Draw the gaps between lost elements on a CPU: exponential numbers rounded down, which is how long a chance of
    ``p`` keeps one waiting.
    """

    def __init__(self, p: float) -> None:
        """Take the probability, above 0 and below 1."""
        super().__init__()
        self.scale = 1 / (1 - p)
        self._p = p
        self._wait = -1 / math.log1p(-p)

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training, pass through otherwise."""
        return self.lose(x, self.draws(x)) * self.scale if self.training else x

    def draws(self, x: Tensor) -> Tensor:
        """Draw the places (n,) in the flattened ``x`` that are lost, int32, in their order."""
        generator = _generator()
        count, expected = x.numel(), x.numel() * self._p
        enough = int(expected + 6 * math.sqrt(expected) + 10)
        parts, last = [], -1
        while last < count:
            places = last + self._steps(generator, enough)
            parts.append(places)
            last = int(places[-1])
        places = numpy.concatenate(parts)
        return torch.from_numpy(places[: places.searchsorted(count)].astype(numpy.int32))

    def lose(self, x: Tensor, draws: Tensor) -> Tensor:
        """Return a copy of ``x`` with zeros in these places."""
        kept = x.clone(memory_format=torch.contiguous_format)
        kept.view(-1)[draws.long()] = 0
        return kept

    def _steps(self, generator: numpy.random.Generator, count: int) -> "numpy.typing.NDArray[numpy.int64]":
        """Return how far it is from one place to each of the next ``count``."""
        waits = generator.standard_exponential(count, dtype=numpy.float32)
        waits *= self._wait
        return numpy.cumsum(waits.astype(numpy.int64) + 1)


def _generator() -> numpy.random.Generator:
    """Return numpy's fastest generator, with a seed that torch's draws."""
    return numpy.random.Generator(numpy.random.SFC64(int(torch.empty((), dtype=torch.int64).random_(0, None))))


def use_in(model: nn.Module, kind: type[MaskDropout | GapDropout] = GapDropout) -> None:
    """Put it in the place of every ``nn.Dropout`` of a PEFT model's LoRA layers."""
    for module in model.modules():
        for name, layer in getattr(module, "lora_dropout", nn.ModuleDict()).items():
            if isinstance(layer, nn.Dropout):
                module.lora_dropout[name] = kind(layer.p)
