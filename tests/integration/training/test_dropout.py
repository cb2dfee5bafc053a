"""The cheap dropout is dropout: right share, right mean, the generator's own masks, and silent outside training."""

import pytest
import torch

from services.trainer.training.dropout import Dropout, GapDropout, MaskDropout

KINDS = pytest.mark.parametrize("kind", [GapDropout, MaskDropout])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.001, 0.05, 0.4, 0.5, 0.9])
@KINDS
def test_it_drops_its_share_and_keeps_the_mean(kind: type[Dropout], p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer, x = kind(p), torch.ones(1003, 997, dtype=dtype)
    dropped = layer.lose(x, layer.draws(x)).float() * layer.scale
    assert layer(x).dtype == dtype
    assert float((dropped == 0).float().mean()) == pytest.approx(p, abs=0.002)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_every_element_falls_as_often_as_every_other_and_its_neighbours_do_not_matter(p: float) -> None:
    torch.manual_seed(0)
    layer, x, rounds = GapDropout(p), torch.ones(40), 20_000
    fell = torch.stack([layer.lose(x, layer.draws(x)) for _ in range(rounds)]) == 0
    spread = (p * (1 - p) / rounds) ** 0.5
    assert float((fell.float().mean(0) - p).abs().max()) < 5 * spread
    both = (fell[:, 1:] & fell[:, :-1]).float().mean(0)
    assert float((both - p * p).abs().max()) < 5 * (p * p * (1 - p * p) / rounds) ** 0.5


def test_a_share_that_hardly_ever_falls_is_drawn_too() -> None:
    torch.manual_seed(0)
    layer, x = GapDropout(1e-7), torch.ones(1000)
    assert not any(len(layer.draws(x)) for _ in range(100))


def test_what_is_kept_of_a_draw_is_small() -> None:
    x = torch.ones(1000, 1000, dtype=torch.bfloat16)
    draws = GapDropout(0.05).draws(x)
    assert draws.nbytes < 0.11 * x.nbytes


@KINDS
def test_the_generators_state_decides_the_mask(kind: type[Dropout]) -> None:
    layer, x, state = kind(0.3), torch.ones(50), torch.random.get_rng_state()
    first, second = layer.draws(x), layer.draws(x)
    torch.random.set_rng_state(state)
    assert torch.equal(layer.draws(x), first)
    assert not torch.equal(first, second)


def test_neighbouring_elements_fall_independently() -> None:
    torch.manual_seed(0)
    kept = (GapDropout(0.5)(torch.ones(400_000)) > 0).float() - 0.5
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
