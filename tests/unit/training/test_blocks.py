"""Attention in blocks is torch's attention: values, gradients, what it hides, and equal bytes each time."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from services.trainer.training.attention import each
from services.trainer.training.blocks import InBlocks

LENGTHS = (1, 5, 130, 16, 257)
"""Shorter than a block, a block and a little, no multiple of anything, and one at the end of a row."""


def _given(form: torch.dtype, heads: int, shared: int, lengths: Sequence[int], *, spread: float = 1.0) -> list[Tensor]:
    """Return queries, keys and values as transformers lays them out, and a slope of what they find."""
    torch.manual_seed(3)
    tokens, size = sum(lengths), 24
    sides = [torch.randn(1, tokens, count, size) * spread for count in (heads, shared, shared)]
    return [*(side.to(form).transpose(1, 2) for side in sides), torch.randn(1, tokens, heads, size).to(form)]


def _parts(lengths: Sequence[int]) -> list[slice]:
    ends = [sum(lengths[: at + 1]) for at in range(len(lengths))]
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def _ours(given: Sequence[Tensor], lengths: Sequence[int], scaling: float | None = None) -> tuple[Tensor, ...]:
    *sides, slope = given
    sides = [side.detach().requires_grad_() for side in sides]
    found = InBlocks.apply(*sides, scaling or slope.shape[-1] ** -0.5, _parts(lengths))
    return found.detach(), *torch.autograd.grad(found, sides, slope)


def _torchs(given: Sequence[Tensor], lengths: Sequence[int], scaling: float | None = None) -> tuple[Tensor, ...]:
    *sides, slope = given
    sides = [side.detach().requires_grad_() for side in sides]
    parts = [
        scaled_dot_product_attention(
            *(side[:, :, part] for side in sides), is_causal=True, scale=scaling, enable_gqa=True
        )
        for part in _parts(lengths)
    ]
    found = torch.cat(parts, 2).transpose(1, 2)
    return found.detach(), *torch.autograd.grad(found, sides, slope)


def _error(found: Tensor, right: Tensor) -> float:
    return float((found.float() - right).norm() / right.norm())


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize(("heads", "shared"), [(4, 4), (6, 2)])
def test_values_and_gradients_are_those_of_torch(heads: int, shared: int, scaling: float | None) -> None:
    given = _given(torch.float32, heads, shared, LENGTHS)
    for ours, torchs in zip(_ours(given, LENGTHS, scaling), _torchs(given, LENGTHS, scaling), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_in_bfloat16_it_is_about_as_exact_as_torch(spread: float) -> None:
    """Scores of 9 beside scores of 1: rounding them to bfloat16 would show at once."""
    given = _given(torch.bfloat16, 6, 2, LENGTHS, spread=spread)
    right = _torchs([side.float() for side in given], LENGTHS)
    for ours, torchs, wanted in zip(_ours(given, LENGTHS), _torchs(given, LENGTHS), right, strict=True):
        assert _error(ours, wanted) < 1.4 * _error(torchs, wanted)


@pytest.mark.parametrize("form", [torch.float32, torch.bfloat16])
def test_equal_inputs_give_equal_bytes_whatever_was_computed_between(form: torch.dtype) -> None:
    given = _given(form, 6, 2, LENGTHS)
    first = _ours(given, LENGTHS)
    _ours([side * float("nan") for side in given], LENGTHS)
    for again, before in zip(_ours(given, LENGTHS), first, strict=True):
        assert torch.equal(again, before)


def test_a_conversation_has_the_same_bytes_beside_any_neighbours() -> None:
    given = _given(torch.bfloat16, 6, 2, LENGTHS)
    part = _parts(LENGTHS)[2]
    alone = [*(side[:, :, part] for side in given[:3]), given[3][:, part]]
    together = _ours(given, LENGTHS)
    beside = [together[0][:, part], *(side[:, :, part] for side in together[1:])]
    for one, other in zip(_ours(alone, LENGTHS[2:3]), beside, strict=True):
        assert torch.equal(one, other)


def test_what_comes_later_changes_nothing_before() -> None:
    given = _given(torch.float32, 6, 2, (300,))
    later = [side.clone() for side in given]
    for side in later[:3]:
        side[:, :, 200:] += 1
    assert torch.equal(_ours(given, (300,))[0][:, :200], _ours(later, (300,))[0][:, :200])


def test_a_cpu_in_bfloat16_attends_in_blocks_autocast_or_not() -> None:
    given = _given(torch.bfloat16, 6, 2, LENGTHS)
    before = torch.backends.mkldnn.matmul.fp32_precision
    plain, _ = each(None, *given[:3], None, conversations=_parts(LENGTHS))
    with torch.autocast("cpu", torch.bfloat16):
        sides = [side.float().requires_grad_() for side in given[:3]]
        found, _ = each(None, *sides, None, conversations=_parts(LENGTHS))
        slopes = torch.autograd.grad(found, sides, given[3])
    ours = _ours(given, LENGTHS)
    assert torch.equal(plain, ours[0])
    assert torch.equal(found, ours[0])
    for slope, right in zip(slopes, ours[1:], strict=True):
        assert torch.equal(slope, right.float())
    assert torch.backends.mkldnn.matmul.fp32_precision == before


@pytest.mark.parametrize("form", [torch.float32, torch.float64])
def test_other_formats_are_left_to_torch(form: torch.dtype) -> None:
    given = _given(form, 4, 2, (40, 7))
    found, _ = each(None, *given[:3], None, conversations=_parts((40, 7)))
    assert torch.equal(found, _torchs(given, (40, 7))[0])
