"""The autoregressive mixture: normalised, sampled as evaluated, differentiable."""

from __future__ import annotations

import math

import pytest
import torch

from hepgen.nn.mixture import LogisticMixture


def mixture(features: int, seed: int = 0) -> LogisticMixture:
    """One with weights far from their start, so that nothing is trivial."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = LogisticMixture(features, context=2, components=3, hidden=(8, 8))
        for parameter in module.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return module.double()


def test_one_dimension_is_normalised() -> None:
    x = torch.linspace(-200, 200, 400_001, dtype=torch.float64)[:, None]
    density = mixture(1)(torch.tensor([0.3, -1.0]).double()).log_prob(x).exp()
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1, abs=1e-5)


def test_two_dimensions_are_normalised() -> None:
    axis = torch.linspace(-50, 50, 801, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)
    density = mixture(2)(torch.tensor([0.3, -1.0]).double()).log_prob(grid).exp()
    total = torch.trapezoid(torch.trapezoid(density, axis), axis)
    assert total.item() == pytest.approx(1, abs=2e-3)


def test_samples_follow_the_density() -> None:
    """E[log p] of draws is the integral of p log p; false alarm 6e-5 (four sigma)."""
    module = mixture(1)
    distribution = module(torch.tensor([0.3, -1.0]).double())
    x = torch.linspace(-200, 200, 400_001, dtype=torch.float64)[:, None]
    log_p = distribution.log_prob(x)
    entropy = torch.trapezoid(-log_p.exp() * log_p, x[:, 0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        draws = -distribution.log_prob(distribution.sample((20_000,)))
    error = draws.std() / math.sqrt(len(draws))
    assert abs((draws.mean() - entropy) / error) < 4


def test_samples_of_the_second_feature_follow_the_density() -> None:
    """P(x₂ < m | x₁) from draws is uniform at the density's own CDF; false alarm 1e-4."""
    module = mixture(2)
    distribution = module(torch.tensor([0.3, -1.0]).double())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        x = distribution.sample((500,))
    axis = torch.linspace(-60, 60, 1201, dtype=torch.float64)
    pairs = torch.stack([x[:, :1].expand(-1, len(axis)), axis.expand(len(x), -1)], dim=-1)
    cdf = torch.cumulative_trapezoid(distribution.log_prob(pairs).exp(), axis)
    cdf = cdf / cdf[:, -1:]
    below = torch.searchsorted(axis, x[:, 1].contiguous()).clamp(1, len(axis) - 1) - 1
    rank = cdf.gather(1, below[:, None])[:, 0].sort().values
    distance = (rank - torch.arange(500) / 500).abs().max().item()
    assert distance < 2.23 / math.sqrt(500)


def test_events_and_contexts_broadcast() -> None:
    module = mixture(2)
    context, x = torch.randn(5, 2).double(), torch.randn(7, 2).double()
    table = module(context).log_prob(x[:, None])
    for i in range(7):
        for k in range(5):
            assert table[i, k].item() == pytest.approx(module(context[k]).log_prob(x[i]).item())


def test_second_feature_depends_on_the_first_only_one_way() -> None:
    module = mixture(2)
    distribution = module(torch.zeros(2).double())
    x = torch.tensor([[0.0, 0.0], [0.0, 3.0]]).double()
    first = distribution._first.log_prob(x[:, 0])
    assert first[0] == first[1]
    assert distribution.log_prob(x)[0] != distribution.log_prob(x)[1]


def test_gradients_are_right() -> None:
    module = mixture(2)
    x = torch.randn(4, 2).double().requires_grad_(True)
    context = torch.randn(4, 2).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda a, c: module(c).log_prob(a), (x, context))
    assert torch.autograd.gradgradcheck(lambda c: module(c).log_prob(x.detach()), (context,))


def test_outlier_has_a_finite_density_and_gradient() -> None:
    context = torch.zeros(1, 2, requires_grad=True)
    log_p = mixture(1).float()(context).log_prob(torch.tensor([[1e4]]))
    (gradient,) = torch.autograd.grad(log_p.sum(), context)
    assert bool(torch.isfinite(log_p).all())
    assert bool(torch.isfinite(gradient).all())
