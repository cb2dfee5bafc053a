"""The cheap dropout is dropout: right share, right mean, the generator's own masks, and silent outside training."""

import pytest
import torch

from services.trainer.training.dropout import Dropout, MaskDropout, SixteenBitDropout

KINDS = pytest.mark.parametrize("kind", [SixteenBitDropout, MaskDropout])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.05, 0.4, 0.5, 0.9])
@KINDS
def test_it_drops_its_share_and_keeps_the_mean(kind: type[Dropout], p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, x = kind(p), torch.ones(1003, 997, dtype=dtype)
    dropped = layer.lose(x, layer.draws(x)).float() * layer.scale
    assert layer(x).dtype == dtype
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("p", [1 / 65_536, 0.05, 0.3, 0.49])
def test_of_all_draws_exactly_its_share_loses(p: float) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float32, torch.bfloat16):
        lost = SixteenBitDropout(p).lose(torch.ones(2**16, dtype=dtype), every) == 0
        assert int(lost.sum()) == round(p * 2**16)


@KINDS
def test_the_generators_state_decides_the_mask(kind: type[Dropout]) -> None:
    layer, x, state = kind(0.3), torch.ones(50), torch.random.get_rng_state()
    first, second = layer.draws(x), layer.draws(x)
    torch.random.set_rng_state(state)
    assert torch.equal(layer.draws(x), first)
    assert not torch.equal(first, second)


def test_neighbouring_elements_fall_independently() -> None:
    torch.manual_seed(0)
    kept = (SixteenBitDropout(0.5)(torch.ones(400_000)) > 0).float() - 0.5
    words_in_a_row = 317
    for lag in (1, 2, 3, 4, 5, 4 * words_in_a_row, 8 * words_in_a_row):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 0.002


@KINDS
def test_it_passes_everything_through_outside_training(kind: type[Dropout]) -> None:
    x = torch.randn(7)
    assert torch.equal(kind(0.5).eval()(x), x)


@KINDS
def test_the_gradient_follows_the_mask(kind: type[Dropout]) -> None:
    x = torch.ones(100, requires_grad=True)
    y = kind(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
