"""The cheap dropout is dropout: right share, right mean, the generator's own masks, and silent outside training."""

import pytest
import torch

from services.trainer.training.dropout import SixteenBitDropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.05, 0.4, 0.5, 0.9])
def test_it_drops_its_share_and_keeps_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropped = SixteenBitDropout(p)(torch.ones(1003, 997, dtype=dtype)).float()
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("p", [1 / 65_536, 0.05, 0.3, 0.49])
def test_of_all_draws_exactly_its_share_loses(p: float) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    for dtype in (torch.float32, torch.bfloat16):
        lost = SixteenBitDropout(p).lose(torch.ones(2**16, dtype=dtype), every) == 0
        assert int(lost.sum()) == round(p * 2**16)


def test_the_generators_state_decides_the_mask() -> None:
    layer, state = SixteenBitDropout(0.3), torch.random.get_rng_state()
    first, second = layer(torch.ones(50)), layer(torch.ones(50))
    torch.random.set_rng_state(state)
    assert torch.equal(layer(torch.ones(50)), first)
    assert not torch.equal(first, second)


def test_neighbouring_elements_fall_independently() -> None:
    torch.manual_seed(0)
    kept = (SixteenBitDropout(0.5)(torch.ones(400_000)) > 0).float() - 0.5
    words_in_a_row = 317
    for lag in (1, 2, 3, 4, 5, 4 * words_in_a_row, 8 * words_in_a_row):
        assert abs(float((kept[lag:] * kept[:-lag]).mean())) < 0.002


def test_it_passes_everything_through_outside_training() -> None:
    x = torch.randn(7)
    assert SixteenBitDropout(0.5).eval()(x) is x


def test_the_gradient_follows_the_mask() -> None:
    x = torch.ones(100, requires_grad=True)
    y = SixteenBitDropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
