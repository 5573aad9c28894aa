"""Traces: exact against autograd's Jacobian; Hutchinson's mean, variance and scaling."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.surrogates.continuous.divergence import exact, hutchinson, rademacher

MATRIX = torch.tensor([[1.0, 2.0, -0.5], [0.3, -2.0, 0.7], [1.1, 0.0, 0.4]], dtype=torch.float64)


def linear(x: Tensor) -> Tensor:
    return x @ MATRIX.T


def curved(x: Tensor) -> Tensor:
    return torch.sin(x @ MATRIX.T) * x.square().sum(-1, keepdim=True)


def test_exact_is_the_trace_of_the_jacobian() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3, dtype=torch.float64)
    value, trace = exact(curved, x)
    torch.testing.assert_close(value, curved(x))
    for i in range(5):
        jacobian = torch.autograd.functional.jacobian(lambda x: curved(x[None])[0], x[i])  # type: ignore[no-untyped-call]
        assert trace[i].item() == pytest.approx(jacobian.trace().item())


def test_exact_is_differentiable_in_a_weight() -> None:
    scale = torch.tensor(1.5, requires_grad=True)
    _, trace = exact(lambda x: scale * x.pow(3), torch.tensor([[1.0, 2.0]]))
    (gradient,) = torch.autograd.grad(trace.sum(), scale)
    assert gradient.item() == pytest.approx(3 + 12)


def test_hutchinson_is_unbiased_with_the_known_variance() -> None:
    """Var = 2 Σ_{i≠j} J̄ᵢⱼ², J̄ = (J + Jᵀ)/2; a false alarm beyond 5 standard errors."""
    torch.manual_seed(0)
    x, probes = torch.zeros(1, 3, dtype=torch.float64), 40_000
    _, estimates = hutchinson(linear, x, rademacher(probes, x))
    symmetric = 0.5 * (MATRIX + MATRIX.T)
    variance = 2 * (symmetric.square().sum() - symmetric.diagonal().square().sum())
    assert abs(estimates.mean() - MATRIX.trace()) < 5 * (variance / probes).sqrt()
    assert estimates.var().item() == pytest.approx(variance.item(), rel=0.05)


@pytest.mark.parametrize("probes", [1, 2, 64])
def test_every_probe_is_exact_for_a_diagonal(probes: int) -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    value, estimates = hutchinson(lambda x: x * x, x, rademacher(probes, x))
    torch.testing.assert_close(value, x * x)
    torch.testing.assert_close(estimates, (2 * x.sum(-1, keepdim=True)).expand(4, probes))
