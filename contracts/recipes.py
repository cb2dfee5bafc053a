"""How a model is to be trained: the recipe, and the presets that name one.

A recipe is complete: given the same data, seed, machine and versions it gives the
same adapter bytes. Presets are for people; each says in one sentence what it is for.
"""

from typing import Annotated

from msgspec import Meta, Struct

METHODS = ("lora", "full")
"""What is trained: small matrices beside the base model's weights, or every weight."""
OBJECTIVES = ("supervised", "dpo")
"""What it is taught with: examples of good replies, or pairs of a preferred reply and one that is not."""
QUANTIZATIONS = ("none", "nf4")
"""How the frozen base stands in memory while a LoRA is trained: as it is trained usually, or in four bits (QLoRA)."""
FEATURES = ("dpo", "nf4")
"""What a recipe may ask beyond what the first runners understood: an offer names those that its device understands."""
PAIR_FORMATS = ("openai_preference", "trl_preference")
"""The formats of datasets that hold such pairs: dpo learns from nothing else, and nothing else learns from them."""
DPO_BETA = 0.1
FULL_RATE = 0.1
"""Every weight moves at once where all are trained: the usual learning rate is this share of a LoRA's."""
DPO_RATE = 0.25
"""Preferences push harder than examples: the usual learning rate for pairs is this share of that for replies."""


class Recipe(Struct, frozen=True, kw_only=True):
    """Base model, method and hyper-parameters.

    ``batch_size`` counts examples (conversations) to an optimiser step. ``max_steps`` is
    0 when the epochs decide, else the optimiser steps after which training ends early
    because ``time_limit`` (seconds) would be passed. ``beta`` says how strongly ``objective`` "dpo" holds the model to
    its base (Rafailov et al. 2023); ``batch_size`` counts pairs there. ``quantization`` is one of
    :data:`QUANTIZATIONS`; the adapter is measured and served on the base that is not quantised.
    """

    base_model: str
    method: str = "lora"
    rank: Annotated[int, Meta(ge=1, le=256)] = 16
    alpha: Annotated[int, Meta(ge=1, le=512)] = 32
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 2e-4
    epochs: Annotated[int, Meta(ge=1, le=50)] = 3
    batch_size: Annotated[int, Meta(ge=1, le=256)] = 16
    max_length: Annotated[int, Meta(ge=16)] = 2048
    warmup_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.03
    max_grad_norm: Annotated[float, Meta(gt=0)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 42
    max_steps: Annotated[int, Meta(ge=0)] = 0
    time_limit: Annotated[float, Meta(ge=0)] = 0.0
    objective: str = "supervised"
    beta: Annotated[float, Meta(gt=0, le=2)] = DPO_BETA
    quantization: str = "none"

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of :data:`FEATURES` whoever trains this must understand: others would train something else."""
        return tuple(each for each in (self.objective, self.quantization) if each in FEATURES)


class Preset(Struct, frozen=True, kw_only=True):
    """A named recipe: ``name`` for engineers, ``staff_name`` for everybody else."""

    name: str
    staff_name: str
    explains: str
    rank: int
    learning_rate: float
    epochs: int
    time_limit: float

    def rate_for(self, method: str | None, objective: str | None = None) -> float:
        """Return the learning rate for what is trained, and with what it is taught."""
        rate = self.learning_rate * FULL_RATE if method == "full" else self.learning_rate
        return rate * DPO_RATE if objective == "dpo" else rate


PRESETS: tuple[Preset, ...] = (
    Preset(
        name="conservative",
        staff_name="quick",
        explains="A small, careful change in at most half an hour: to try an idea, or when there is little data.",
        rank=8,
        learning_rate=1e-4,
        epochs=2,
        time_limit=30 * 60.0,
    ),
    Preset(
        name="balanced",
        staff_name="standard",
        explains="The usual choice, up to two hours: learns the voice well and seldom forgets what the base knew.",
        rank=16,
        learning_rate=2e-4,
        epochs=3,
        time_limit=2 * 3600.0,
    ),
    Preset(
        name="aggressive",
        staff_name="deep",
        explains="The strongest change, up to six hours: for plenty of good data; look at the forgetting score after.",
        rank=32,
        learning_rate=3e-4,
        epochs=4,
        time_limit=6 * 3600.0,
    ),
)


def preset_named(name: str) -> Preset | None:
    """Find a preset by either of its names."""
    return next((each for each in PRESETS if name in (each.name, each.staff_name)), None)


SHIPPED_MODEL = "SmolLM2-135M-Instruct"
"""The base model that comes with Woodshed and needs no download."""
