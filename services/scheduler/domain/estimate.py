"""What a training will take: seconds, money and memory, with the interval nine in ten should fall in.

The first estimate on a kind of machine rests on arithmetic: a LoRA step costs about 4 FLOP per
parameter and token (forward, and backward without the base's weight gradients), done at a share
of the matrix-multiply speed the device measured. Every finished run then corrects it: what is
learned is the *ratio* of real to calculated seconds, so it carries over to other data, ranks and
speeds of the same kind of device. A pair of replies is two conversations, each also read once by the base model.
"""

import math

from msgspec import Struct
from msgspec.structs import replace

from contracts.jobs import Estimate
from contracts.recipes import Recipe
from libs.lm.models import known
from services.scheduler.domain.money import MILLION, charge

NINE_IN_TEN = 1.645
"""Standard deviations either side of the mean that hold 90 % of a normal distribution."""

CPU_EFFICIENCY = 0.2
HALF_EFFICIENCY = 0.1
FLOAT32_EFFICIENCY = 0.25
MEASURED_HIDDEN = 576
MOST_EFFICIENCY = 0.3
"""Share of the matrix-multiply speed that training reaches with hidden size 576: in 16 bits on a CPU and on anything
else, and in 32. Measured in bfloat16 on two cores of Zen 5: 436 tokens/s at 0.82 TFLOP/s (29 %). Where products are
faster (AMX) the work besides them is not, so less than that is counted on: before decisions 34 and 35 it was 15 % here
and 8 % at 2.7 TFLOP/s, and nobody measured there since. On one core in float32: 95 tokens/s at 0.2. The work besides
grows with the hidden size, multiplications with its square: the share grows with it, up to what large models reach."""

FOUR_BITS_ON_CPU = CPU_EFFICIENCY / 0.15
"""How many times longer than calculated a token takes on a CPU where the base stands in four bits: unpacked anew in
every pass, 273 tokens/s at 0.83 TFLOP/s, 18 %, on a quiet machine with conversations of 128 and of 610 tokens. Only
until the first run of that base in four bits was seen."""

UNSEEN_SPREAD = math.log(2.5) / NINE_IN_TEN
ONE_RUN_SPREAD = math.log(1.5) / NINE_IN_TEN
LEAST_SPREAD = math.log(1.1) / NINE_IN_TEN
"""Standard deviation of the log ratio: before any run, after one, and the least ever claimed (±10 %)."""
NEWEST_WEIGHT = 0.25
START_UP = 20.0
"""Seconds a device is held besides training: process start, imports, loading, saving. Learned from the first run on."""

PROCESS_BYTES = 1_000_000_000
ADAM_BYTES = 16
SAVED_BYTES = 12
ACTIVATION_FACTOR = 68
LEAN_ACTIVATION_FACTOR = 30
MICRO_BATCH_TOKENS = 768
LONGEST_TO_MEAN = 2
"""Memory: an interpreter with torch, its kernels and the head's logits; fp32 weight, gradient and two moments of each
parameter that is trained, and, of a whole model, the copy that is written as a checkpoint (weight and moments); and the
activations of the largest forward pass, which is a micro-batch or one example that is longer. Activations take 34
values a hidden unit and layer (Korthikanti et al. 2022, attention maps left out), and as much again for the inputs that
a LoRA with dropout keeps. Where a LoRA and its layer are one operation (a CPU, decision 0035) 19 are kept, and 30 hold
what lies waste between them on any processor. Measured while 26 were kept, with at most 610 tokens in a pass: 1.76 GB
in bfloat16 (this says 1.98), 2.56 in float32 (2.88), 3.54 of a whole model before its first checkpoint (6.2); with 768:
1.88 (2.14), in four bits 2.55 to 2.96 (2.99). The longest example of real conversations is taken to be twice the
mean."""


class Device(Struct, frozen=True, kw_only=True):
    """What training runs on: its name, ``bfloat16`` or ``float32``, memory in bytes, and FLOP/s in that precision.

    ``features`` are what it understands of recipes that need more than the first ones; ``processor`` is ``cpu`` or
    ``cuda``, and empty where its runner's control did not say.
    """

    kind: str
    precision: str
    memory_bytes: int
    flops: float
    features: tuple[str, ...] = ()
    processor: str = ""


TYPICAL = Device(kind="typical", precision="bfloat16", memory_bytes=8_000_000_000, flops=0.84e12, processor="cpu")
"""A two-core machine like the one Woodshed is measured on: stands in until a device has reported itself."""


class Data(Struct, frozen=True, kw_only=True):
    """The training split: examples, and tokens of one pass over it."""

    train_examples: int
    train_tokens: int


class Rate(Struct, frozen=True, kw_only=True):
    """What a device costs."""

    per_hour: float
    currency: str

    def cost(self, seconds: float) -> float:
        """Return the price of holding a device, to the millionth."""
        return self.bill(seconds, 0.0)

    def seconds(self, money: float) -> float:
        """Return how long a device may be held for ``money``; for ever where it costs nothing."""
        return money / self.per_hour * 3600 if self.per_hour else math.inf

    def bill(self, seconds: float, rent: float) -> float:
        """Return the price of holding own devices for ``seconds`` and others for ``rent``, to the millionth."""
        own = charge(round(seconds * MILLION), round(self.per_hour * MILLION))
        return (own + round(rent * MILLION)) / MILLION


class Calibration(Struct, frozen=True, kw_only=True):
    """What runs of one model on one kind of device taught.

    ``log_ratio`` is the weighted mean of ln(real ÷ calculated seconds) and ``spread`` its standard
    deviation, ``start_up`` the seconds held besides training, ``memory_ratio`` real ÷ calculated memory.
    """

    runs: int = 0
    log_ratio: float = 0.0
    spread: float = UNSEEN_SPREAD
    start_up: float = START_UP
    memory_ratio: float = 1.0


class Observed(Struct, frozen=True, kw_only=True):
    """A finished run, as far as estimates can learn from it."""

    tokens: int
    train_seconds: float
    device_seconds: float
    memory_bytes: int


def steps_of(recipe: Recipe, data: Data) -> int:
    """Count the optimiser steps of a recipe over this data."""
    steps = math.ceil(data.train_examples / recipe.batch_size) * recipe.epochs
    return min(steps, recipe.max_steps) if recipe.max_steps else steps


def tokens_of(recipe: Recipe, data: Data) -> int:
    """Count the tokens a recipe passes through the model, all epochs together."""
    all_steps = steps_of(replace(recipe, max_steps=0), data)
    return round(data.train_tokens * recipe.epochs * steps_of(recipe, data) / all_steps) if all_steps else 0


def estimate(recipe: Recipe, data: Data, device: Device, learned: Calibration, rate: Rate) -> Estimate:
    """Estimate a training on one device."""
    tokens = tokens_of(recipe, data)
    seconds = calculated_seconds(recipe.base_model, tokens, device, learned_as(recipe)) * _ratio(
        recipe, device, learned
    )
    factor = math.exp(NINE_IN_TEN * learned.spread)
    return Estimate(
        seconds=seconds,
        seconds_low=seconds / factor,
        seconds_high=seconds * factor,
        cost=rate.cost(seconds + learned.start_up),
        currency=rate.currency,
        memory_bytes=round(calculated_memory(recipe, data, device) * learned.memory_ratio),
        steps=steps_of(recipe, data),
        tokens=tokens,
    )


def _ratio(recipe: Recipe, device: Device, learned: Calibration) -> float:
    """Return real ÷ calculated seconds: as runs taught it; before any, what the base's format costs on a CPU."""
    if learned.runs:
        return math.exp(learned.log_ratio)
    return FOUR_BITS_ON_CPU if recipe.quantization == "nf4" and device.processor == "cpu" else 1.0


def calculated_seconds(base_model: str, tokens: int, device: Device, method: str = "lora") -> float:
    """Return the seconds of training before anything was learned: 4·N·tokens ÷ (FLOP/s × efficiency).

    6·N where every weight has a gradient, and where the base model reads all that is learned from (dpo).
    """
    model = known(base_model)
    efficiency = min(MOST_EFFICIENCY, _efficiency(device) * model.hidden / MEASURED_HIDDEN)
    passes = 4 if method in ("lora", "nf4") else 6
    return passes * model.parameters * tokens / (device.flops * efficiency)


def _efficiency(device: Device) -> float:
    if device.precision == "float32":
        return FLOAT32_EFFICIENCY
    return CPU_EFFICIENCY if device.processor == "cpu" else HALF_EFFICIENCY


def learned_as(recipe: Recipe) -> str:
    """Return what is counted and learned apart: a LoRA's training, a whole model's, one on pairs, each in four bits."""
    kind = recipe.objective if recipe.objective == "dpo" else recipe.method
    if recipe.quantization == "none":
        return kind
    return recipe.quantization if kind == "lora" else f"{kind}-{recipe.quantization}"


def calculated_memory(recipe: Recipe, data: Data, device: Device) -> float:
    """Return the peak bytes of training before anything was learned: weights, what is trained, activations, process."""
    model = known(recipe.base_model)
    width = 4 if device.precision == "float32" else 2
    base = model.parameters * width if recipe.quantization == "none" else model.four_bit_bytes
    trained = model.lora_parameters(recipe.rank) * ADAM_BYTES + base
    if recipe.method == "full":
        trained = model.parameters * (ADAM_BYTES + SAVED_BYTES)
    factor = LEAN_ACTIVATION_FACTOR if _is_lean(recipe, device) else ACTIVATION_FACTOR
    return PROCESS_BYTES + trained + factor * model.layers * model.hidden * width * _largest_pass(recipe, data)


def learn(known_so_far: Calibration, run: Observed, recipe: Recipe, data: Data, device: Device) -> Calibration:
    """Correct a calibration by one finished run; a run that counted nothing teaches nothing.

    Means follow the newest run with a quarter of the weight, more while there are few. One run
    says where the mean lies but not how runs differ, so the spread is learned from the second on.
    """
    if not (run.tokens and run.train_seconds):
        return known_so_far
    calculated = calculated_seconds(recipe.base_model, run.tokens, device, learned_as(recipe))
    observed = math.log(run.train_seconds / calculated)
    weight = max(NEWEST_WEIGHT, 1 / (known_so_far.runs + 1))
    memory = (
        run.memory_bytes / calculated_memory(recipe, data, device) if run.memory_bytes else known_so_far.memory_ratio
    )
    return Calibration(
        runs=known_so_far.runs + 1,
        log_ratio=_towards(known_so_far.log_ratio, observed, weight),
        spread=_spread(known_so_far, observed, weight),
        start_up=_towards(known_so_far.start_up, max(0.0, run.device_seconds - run.train_seconds), weight),
        memory_ratio=_towards(known_so_far.memory_ratio, memory, weight),
    )


def _spread(known_so_far: Calibration, observed: float, weight: float) -> float:
    """Return the root of the weighted mean of squared surprises, never claiming less than ±10 %."""
    if not known_so_far.runs:
        return ONE_RUN_SPREAD
    surprise = (observed - known_so_far.log_ratio) ** 2
    return max(LEAST_SPREAD, math.sqrt(_towards(known_so_far.spread**2, surprise, weight)))


def _towards(old: float, new: float, weight: float) -> float:
    return old + weight * (new - old)


def _is_lean(recipe: Recipe, device: Device) -> bool:
    """Tell whether what a LoRA keeps for the backward pass is what its one operation keeps."""
    return device.processor == "cpu" and recipe.method == "lora" and recipe.quantization == "none"


def _largest_pass(recipe: Recipe, data: Data) -> int:
    mean = data.train_tokens / max(data.train_examples, 1)
    longest = recipe.max_length * (2 if recipe.objective == "dpo" else 1)
    return max(MICRO_BATCH_TOKENS, min(longest, round(LONGEST_TO_MEAN * mean)))
