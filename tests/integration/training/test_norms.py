"""A norm in one operation computes what transformers' own does, and leaves to it what is trained."""

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from services.trainer.training import norms

KINDS = [LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm]


def _norm(kind: type[nn.Module], dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(3)
    norm = kind(48, eps=0.3)
    norm.weight.data = torch.randn(48)
    return norm.to(dtype).requires_grad_(False)


def _looked_at(norm: nn.Module, dtype: torch.dtype) -> list[Tensor]:
    """Return what the norm makes of an input, and its gradient."""
    torch.manual_seed(5)
    x = (3 * torch.randn(1, 2, 7, 48)).to(dtype).requires_grad_()
    kept, y = x.detach().clone(), norm(x)
    (slope,) = torch.autograd.grad((y.float() ** 3).sum(), x)
    assert torch.equal(x, kept)
    return [y.detach(), slope]


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_transformers(kind: type[nn.Module]) -> None:
    norm = _norm(kind, torch.float32)
    theirs = _looked_at(norm, torch.float32)
    norms.use_in(norm)
    assert type(norm) is norms.OnePass
    for mine, other in zip(_looked_at(norm, torch.float32), theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_they_are_as_near_to_the_exact_ones() -> None:
    """Within a hundredth more than transformers' own, by the length of the difference."""
    exact = _looked_at(_norm(LlamaRMSNorm, torch.bfloat16).float(), torch.bfloat16)
    norm = _norm(LlamaRMSNorm, torch.bfloat16)
    theirs = [_distance(*pair) for pair in zip(_looked_at(norm, torch.bfloat16), exact, strict=True)]
    norms.use_in(norm)
    ours = [_distance(*pair) for pair in zip(_looked_at(norm, torch.bfloat16), exact, strict=True)]
    assert all(mine < 1.01 * other < 0.02 for mine, other in zip(ours, theirs, strict=True))


def test_equal_inputs_give_equal_bytes() -> None:
    norm = _norm(LlamaRMSNorm, torch.bfloat16)
    norms.use_in(norm)
    for first, again in zip(*(_looked_at(norm, torch.bfloat16) for _ in range(2)), strict=True):
        assert torch.equal(first, again)


def test_a_norm_that_is_trained_stays_transformers() -> None:
    norm = _norm(LlamaRMSNorm, torch.float32).requires_grad_()
    norms.use_in(norm)
    assert type(norm) is LlamaRMSNorm


def _distance(value: Tensor, exact: Tensor) -> float:
    return float((value.float() - exact.float()).norm() / exact.float().norm())
