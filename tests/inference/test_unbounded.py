"""The bijection of the prior: densities, inverses, and the general path beside the fast one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.func import jacrev

from hepgen.inference.unbounded import UnboundedPrior
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform

PARAMETERS = ParameterSet(
    [Parameter("a", 1.0, prior=Uniform(0.0, 3.0)), Parameter("b", 0.0, prior=Normal(1.0, 0.5))]
)


@dataclass(frozen=True)
class Other(Normal):
    """A Gaussian that the fast path does not know: it is evaluated with a logistic's Jacobian."""


def prior() -> UnboundedPrior:
    return UnboundedPrior(PARAMETERS)


def points(n: int = 50) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_round_trip() -> None:
    u = points()
    assert torch.allclose(prior().unbounded(prior().physical(u)), u)


def test_density_is_that_of_the_prior() -> None:
    u = points()
    expected = PARAMETERS.prior().log_prob(prior().physical(u)) + prior().log_jacobian(u)
    assert torch.allclose(prior().log_prob(u), expected)


def test_log_jacobian() -> None:
    u = points(5)
    jacobian = torch.stack([jacrev(prior().physical)(row) for row in u])
    assert torch.allclose(prior().log_jacobian(u), torch.linalg.slogdet(jacobian).logabsdet)


def test_prior_becomes_a_standard_gaussian() -> None:
    """Mean and variance of 20,000 draws a column; false alarm 3e-4 (four sigma, four tests)."""
    u = prior().sample(20_000, torch.Generator().manual_seed(1))
    assert bool((u.mean(0).abs() < 4 / math.sqrt(20_000)).all())
    assert bool(((u.var(0) - 1).abs() < 4 * math.sqrt(2 / 20_000)).all())


def test_edges_of_the_prior_stay_finite() -> None:
    edges = torch.tensor([[0.0, 1.0], [3.0, 1.0]], dtype=torch.float64)
    u = prior().unbounded(edges)
    assert bool(torch.isfinite(u).all())
    assert bool(torch.isfinite(prior().log_prob(u)).all())


@pytest.mark.parametrize("kind", [Uniform, Other])
def test_any_prior_has_a_density(kind: type) -> None:
    """The integral over u is one, on whichever path."""
    one = kind(0.2, 0.8)
    general = UnboundedPrior(ParameterSet([Parameter("a", 0.5, prior=one)]))
    general._gaussian = False
    u = torch.linspace(-40, 40, 20_001, dtype=torch.float64)[:, None]
    assert torch.trapezoid(general.log_prob(u).exp(), u[:, 0]).item() == pytest.approx(1, abs=1e-6)
