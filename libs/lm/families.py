"""The architectures of which it is known what their parts compute; of any other nothing is assumed.

Whoever is known may be read without the model's own head: its logits are hidden states times one matrix, what stands
on the right of a token is never looked at, and a mask says who sees whom. Each is held by tests to transformers' own
loss. Another architecture may scale or cap its logits, have a bias on the head, experts, or layers that mix neighbours:
it is read through its own forward, one conversation at a time. Serves training and evaluation. No torch here.
"""

from typing import Any

from msgspec import Struct

from libs.lm.adapters import TARGETS, Target


class Family(Struct, frozen=True):
    """What is known of an architecture: its linear layers, and whether its positions are learned and so end."""

    name: str
    targets: tuple[Target, ...] = TARGETS
    positions_end: bool = False


FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family("Llama"),
    "MistralForCausalLM": Family("Mistral"),
    "Qwen2ForCausalLM": Family("Qwen"),
    "Qwen3ForCausalLM": Family("Qwen"),
    "GPT2LMHeadModel": Family("GPT-2", ("c_attn", "c_fc", "c_proj"), positions_end=True),
}
"""By the name of transformers' class; SmolLM2 is a Llama."""


def window_of(config: dict[str, Any]) -> int:
    """Return over how many tokens a model looks back; 0 for all. Qwen names a window and then does not use it."""
    used = config.get("use_sliding_window", True)
    return int(config.get("sliding_window") or 0) if used else 0


def known(architecture: str, config: dict[str, Any], longest: int) -> bool:
    """Tell whether a model is known that sees all of ``longest`` tokens."""
    return architecture in FAMILIES and not 0 < window_of(config) < longest


def room(architecture: str, config: dict[str, Any], asked: int) -> int:
    """Return how many tokens of a conversation a model can take, up to what is asked."""
    family = FAMILIES.get(architecture)
    if family is None:
        return min(asked, config.get("max_position_embeddings") or asked)
    return min(asked, config["n_positions"]) if family.positions_end else asked
