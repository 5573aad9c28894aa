"""The likelihood along the probability flow is the density."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hepgen.errors import SurrogateError
from hepgen.surrogates.diffusion.log_snr import CLOCKS, LogSNR, alpha_sigma
from hepgen.surrogates.diffusion.prediction import Velocity
from hepgen.surrogates.diffusion.probability_flow import (
    Slope,
    along,
    log_prob,
    quadratic_forms,
    rademacher,
    unit_vectors,
)
from tests.surrogates.diffusion.oracles import Gaussian, Mixture


def linear(matrix: Tensor) -> Velocity:
    """v = x A, whatever γ."""
    return lambda x, _: x @ matrix.T


def by_axes(velocity: Velocity, x0: Tensor) -> Slope:
    return along(velocity, unit_vectors(x0), exact=True)


def likelihood(velocity: Velocity, x0: Tensor, steps: int = 60, **ends: float) -> Tensor:
    schedule = LogSNR("flow-matching", ends.get("low", -14.0), ends.get("high", 16.0))
    return log_prob(by_axes(velocity, x0), x0, schedule, steps)[0]


@pytest.mark.parametrize("variance", [0.01, 0.25, 1.0, 4.0])
def test_a_gaussian(variance: float) -> None:
    """To 10⁻³ nats, out to four standard deviations."""
    x0 = torch.linspace(-4, 4, 17).double()[:, None] * variance**0.5
    oracle = Gaussian(variance)
    torch.testing.assert_close(likelihood(oracle, x0), oracle.log_prob(x0), rtol=0, atol=1e-3)


def test_the_flow_of_a_gaussian_is_a_scaling() -> None:
    """x_T = x₀ √(v_T/v_0), so that ln p₀ = ln N(x_T) + ½ ln(v_T/v_0): here to 10⁻⁵."""
    oracle, x0 = Gaussian(0.25), torch.tensor([[0.3], [-1.2]]).double()
    ends = torch.tensor([-8.0, 6.0]).double()
    first, last = oracle.diffused(ends)[:, 0]
    alpha = alpha_sigma(ends)[0][0, 0]
    x_t = alpha * x0 * (last / first).sqrt()
    expected = Gaussian(1.0).log_prob(x_t)
    expected = expected + 0.5 * (last / first).log() + alpha.log()
    found = likelihood(oracle, x0, steps=60, low=-8.0, high=6.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_mixture() -> None:
    """Two correlated components in two dimensions, to 10⁻³ nats."""
    mixture = Mixture(
        torch.tensor([0.3, 0.7]).double(),
        torch.tensor([[1.0, 0.5], [-0.8, 0.0]]).double(),
        torch.tensor([[[0.1, 0.05], [0.05, 0.2]], [[0.3, 0.0], [0.0, 0.05]]]).double(),
    )
    torch.manual_seed(0)
    x0 = mixture.sample(100)
    torch.testing.assert_close(likelihood(mixture, x0), mixture.log_prob(x0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("clock", list(CLOCKS))
def test_any_clock_arrives(clock: str) -> None:
    oracle, x0 = Gaussian(0.25), torch.tensor([[0.3], [-1.2]]).double()
    schedule = LogSNR(clock, -12.0, 12.0)
    found, error = log_prob(by_axes(oracle, x0), x0, schedule, 60)
    torch.testing.assert_close(found, oracle.log_prob(x0), rtol=0, atol=2e-3)
    assert bool((error < 2e-3).all())


def test_the_stated_error_covers_the_true_one() -> None:
    """With too few steps it says so; twice as many make it some 2⁴ times smaller."""
    oracle, x0 = Gaussian(0.25), torch.linspace(-1, 1, 9).double()[:, None]
    schedule, reference = LogSNR("flow-matching", -14.0, 16.0), likelihood(oracle, x0)
    stated = []
    for steps in (8, 16):
        value, error = log_prob(by_axes(oracle, x0), x0, schedule, steps)
        assert (value - reference).abs().mean() < error.mean()
        stated.append(error.mean().item())
    assert 8 < stated[0] / stated[1] < 32


def test_the_exact_trace() -> None:
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double()
    x = torch.randn(5, 2).double()
    v, forms = quadratic_forms(linear(matrix), x, torch.zeros(5).double(), unit_vectors(x))
    torch.testing.assert_close(v, x @ matrix.T)
    torch.testing.assert_close(forms.sum(0), torch.full((5,), 5.0).double())


def test_hutchinson_is_exact_for_a_diagonal() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3).double()
    directions = rademacher(7, x)
    matrix = torch.diag(torch.tensor([1.0, -2.0, 5.0])).double()
    _, forms = quadratic_forms(linear(matrix), x, torch.zeros(5).double(), directions)
    torch.testing.assert_close(forms, torch.full((7, 5), 4.0).double())


def test_hutchinson_is_unbiased() -> None:
    """Over all sign vectors, each as likely as another, the mean is the trace."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).double()
    x = torch.randn(1, 3).double()
    matrix = torch.arange(9.0).reshape(3, 3).double()
    _, forms = quadratic_forms(linear(matrix), x, torch.zeros(1).double(), signs[:, None, :])
    assert forms.mean().item() == pytest.approx(12.0)


def correlated(probes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Values and errors by probes of 200 equal events, and the value by the exact trace."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double()
    oracle = Mixture(torch.ones(1).double(), torch.zeros(1, 2).double(), covariance[None])
    x0, schedule = torch.tensor([[0.5, -0.5]]).double().repeat(200, 1), LogSNR("linear")
    torch.manual_seed(seed)
    value, error = log_prob(along(oracle, rademacher(probes, x0), exact=False), x0, schedule, 12)
    exact, _ = log_prob(by_axes(oracle, x0[:1]), x0[:1], schedule, 12)
    return value, error, exact


def test_more_probes_are_more_precise_and_no_larger() -> None:
    """The estimate averages: its mean stays, its scatter falls as its stated error does."""
    for probes in (4, 64):
        value, error, exact = correlated(probes)
        scatter = value.std()
        assert abs(value.mean() - exact.item()) < 4 * scatter / 200**0.5
        assert error.mean().item() == pytest.approx(scatter.item(), rel=0.2)


def test_what_cannot_be_asked() -> None:
    x0 = torch.zeros(1, 1)
    with pytest.raises(SurrogateError, match="two at least"):
        rademacher(1, x0)
    with pytest.raises(SurrogateError, match="even number"):
        log_prob(by_axes(Gaussian(1.0), x0), x0, LogSNR(), 5)
