"""Normal scores of each variable: a bijection, its Jacobian, and what it makes of a sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.surrogates.families import build
from hepgen.surrogates.marginals import Marginals


def sample(n: int = 20_000) -> Tensor:
    """An exponential, a Cauchy variable, and one that is zero in a third of the events."""
    generator = torch.Generator().manual_seed(0)
    z = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    flat = torch.where(z[:, 2] < 1 / 3, 0.0, z[:, 2])
    return torch.stack([-z[:, 0].log(), (torch.pi * (z[:, 1] - 0.5)).tan(), flat], -1)


def measured() -> Marginals:
    marginals = Marginals(3).double()
    marginals.measure(sample())
    return marginals


def test_it_begins_as_the_identity() -> None:
    u = sample(500)
    v, log_slope = Marginals(3).double().with_log_slope(u)
    torch.testing.assert_close(v, u, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_slope, torch.zeros(500).double(), rtol=0, atol=1e-12)


def test_the_inverse_of_the_inverse_also_far_outside() -> None:
    marginals = measured()
    u = torch.cat([sample(2000), 50 * sample(2000), -sample(2000)])
    torch.testing.assert_close(marginals.inverse(marginals.forward(u)), u, rtol=1e-9, atol=1e-9)


def test_the_jacobian_is_that_of_autograd() -> None:
    marginals, u = measured(), sample(300).requires_grad_()
    v, log_slope = marginals.with_log_slope(u)
    (slope,) = torch.autograd.grad(v.sum(), u)
    torch.testing.assert_close(log_slope, slope.log().sum(-1), rtol=1e-10, atol=1e-10)


def test_the_slope_is_continuous_at_the_knots() -> None:
    marginals = measured()
    for side in (-1e-13, 1e-13):
        for k in range(marginals.u.shape[1]):
            found = marginals.with_log_slope(marginals.u[:, k] + side)[1]
            expected = marginals.slope[:, k].log().sum()
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_scores_are_normal() -> None:
    """The share of new events below −2 … 2 is Φ of it, within five errors of both samples."""
    n = 20_000
    generator = torch.Generator().manual_seed(9)
    z = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    u = torch.stack([-z[:, 0].log(), (torch.pi * (z[:, 1] - 0.5)).tan()], -1)
    marginals = Marginals(2).double()
    marginals.measure(sample(n)[:, :2])
    v = marginals.forward(u)
    for at in (-2.0, -1.0, 0.0, 1.0, 2.0):
        expected = torch.special.ndtr(torch.tensor(at).double())
        error = (2 * expected * (1 - expected) / n).sqrt()
        assert float(((v < at).double().mean(0) - expected).abs().max()) < 5 * error


@pytest.mark.parametrize("method", ["flow-matching", "cnf"])
def test_a_family_begins_with_the_margins_of_its_sample(method: str) -> None:
    """Untrained, its events have the quartiles of an exponential distribution."""
    u = sample()[:, :1].float()
    model = build(method, 1, 0, {})
    model.prepare(u, u[:, :0])
    noise = torch.randn(20_000, model.noise, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        made = model.eval().generate(noise, u[:, :0])
    assert float(made.min()) > -0.1
    assert 5 < float(made.max()) < 40
