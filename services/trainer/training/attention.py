"""Attention inside each conversation of a row and nowhere else: what a mask would throw away is never computed.

transformers keeps packed neighbours apart by a mask of row × row, which costs the square of the row. Here each
conversation is a causal attention of its own, so a neighbour cannot be seen because it is not there. On GPUs that is
one call of FlashAttention for sequences of several lengths, which torch carries; elsewhere one for each conversation,
in bfloat16 on a CPU our own (``blocks``).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

from services.trainer.training import blocks
from services.trainer.training.hardware import Attention
from services.trainer.training.loss import product_format


def use_in(causal: Any, kind: Attention) -> None:
    """Let a model attend so; from then on its forward needs ``conversations``, where each lies in the row."""
    name = f"woodshed_{kind}"
    AttentionInterface.register(name, {"each": each, "varlen": varlen}[kind])
    causal.set_attn_implementation(name)


def each(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, *, conversations: Sequence[slice],
    scaling: float | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend conversation by conversation; shapes are transformers': (1, heads, tokens, size) in, tokens first out.

    A GPU's kernels for float32 want as many keys' heads as queries'; else torch would form all scores at once there.
    """
    query, key, value = (product_format(side) for side in (query, key, value))
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return blocks.InBlocks.apply(query, key, value, scale, conversations), None
    grouped = query.shape[1] != key.shape[1]
    if grouped and query.device.type != "cpu":
        key, value = (repeat_kv(side, query.shape[1] // side.shape[1]) for side in (key, value))
        grouped = False
    parts = [
        scaled_dot_product_attention(
            query[:, :, part], key[:, :, part], value[:, :, part], is_causal=True, scale=scaling, enable_gqa=grouped
        )
        for part in conversations
    ]
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def varlen(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, *, conversations: Sequence[slice],
    ends: Tensor, scaling: float | None = None, **_: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend to all conversations in one call; bfloat16 or float16 on a GPU from compute capability 8.0 on.

    ``ends`` (conversations + 1,) says on the device, in int32, where they begin and end.
    """
    from torch.nn.attention.varlen import varlen_attn

    longest = max(part.stop - part.start for part in conversations)
    found = varlen_attn(
        *(product_format(side)[0].transpose(0, 1) for side in (query, key, value)),
        ends,
        ends,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return found[None], None
