"""One call for all conversations of a row says what one call for each says; torch's kernel, which needs a GPU, is stood
in for by what its documentation says of its arguments.
"""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM

from services.trainer.training import attention
from services.trainer.training.data import Example, pack
from services.trainer.training.loss import row_loss

EXAMPLES = [Example(list(range(size)), list(range(size))) for size in (9, 20, 2, 13)]


def _documented(
    query: Tensor, key: Tensor, value: Tensor, ends: Tensor, ends_of_keys: Tensor, longest: int, longest_key: int, *,
    scale: float, window_size: tuple[int, int], enable_gqa: bool,
) -> Tensor:  # fmt: skip
    """Attend as ``torch.nn.attention.varlen.varlen_attn``: (tokens, heads, size), in sixteen bits."""
    assert {each.dtype for each in (query, key, value)} == {torch.bfloat16}
    assert ends.dtype == torch.int32
    assert torch.equal(ends, ends_of_keys)
    assert longest == longest_key == max(end - start for start, end in pairwise(ends.tolist()))
    assert window_size == (-1, 0), "causal"
    assert enable_gqa == (query.shape[1] != key.shape[1])
    parts = [slice(start, end) for start, end in pairwise(ends.tolist())]
    sides = [[side[part].transpose(0, 1)[None] for side in (query, key, value)] for part in parts]
    found = [scaled_dot_product_attention(*each, is_causal=True, scale=scale, enable_gqa=enable_gqa) for each in sides]
    return torch.cat([each[0].transpose(0, 1) for each in found])


@pytest.mark.parametrize("whole", [False, True], ids=["weights in bfloat16", "float32 under autocast"])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_one_call_for_all_lengths_finds_what_one_for_each_finds(
    kv_heads: int, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.nn.attention import varlen

    monkeypatch.setattr(varlen, "varlen_attn", _documented)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=101, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=kv_heads,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config).to(torch.float32 if whole else torch.bfloat16)
    [row] = pack(EXAMPLES, 64)
    seen = []
    for kind in ("varlen", "each"):
        attention.use_in(model, kind)  # type: ignore[arg-type]
        with torch.autocast("cpu", torch.bfloat16, enabled=whole):
            loss, _ = row_loss(model, row)
        seen.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    for mine, other in zip(*seen, strict=True):
        assert float((mine.float() - other.float()).norm()) < 0.02 * float(other.float().norm())
