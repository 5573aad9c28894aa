"""Posteriors of linear measurements under a diffusion prior, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, SurrogateError
from hepgen.features import Feature
from hepgen.surrogates.diffusion.inverse import (
    LinearMeasurement,
    denoise,
    restore,
    sample_posterior,
)
from hepgen.surrogates.surrogate import Surrogate
from tests.surrogates.diffusion.oracles import Gaussian, Mixture

N = 4000
#: Means of 4000 draws scatter by 0.016 σ, entries of covariances by 0.022: these are 5 of them.
MEAN, COVARIANCE = 0.08, 0.11


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def measurement() -> LinearMeasurement:
    """Three numbers of four unknowns: one direction of which nothing is measured."""
    operator = torch.tensor(
        [[1.0, 0.5, 0.0, 0.0], [0.0, 1.0, -1.0, 0.0], [0.3, 0.0, 1.0, 0.0]], dtype=torch.float64
    )
    observed, variance = torch.tensor([1.0, -0.5, 2.0]), torch.tensor([0.5, 1.0, 0.3])
    return LinearMeasurement(operator, observed.double(), variance.double())


def exact(y: LinearMeasurement, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and covariance of p(x | y) for x ~ N(mean, covariance), and ln p(y)."""
    total = y.operator @ covariance @ y.operator.T + y.variance.diag()
    gain = covariance @ y.operator.T @ torch.linalg.inv(total)
    at = y.operator @ mean
    evidence = torch.distributions.MultivariateNormal(at, total).log_prob(y.observed)  # type: ignore[no-untyped-call]
    return mean + gain @ (y.observed - at), covariance - gain @ y.operator @ covariance, evidence


def assert_moments(x: Tensor, mean: Tensor, covariance: Tensor) -> None:
    sigma = covariance.diagonal().sqrt()
    assert ((x.mean(0) - mean).abs() / sigma).max() < MEAN
    wrong = (torch.cov(x.T) - covariance) / sigma[:, None] / sigma
    assert wrong.abs().max() < COVARIANCE


@pytest.mark.parametrize(("variance", "steps"), [(1.0, 2), (0.5, 24), (2.0, 24)])
def test_a_gaussian_prior_gives_the_exact_posterior(variance: float, steps: int) -> None:
    """For N(0, 1) however long the steps of the reverse process are."""
    y = measurement()
    prior = variance * torch.eye(4, dtype=torch.float64)
    mean, covariance, _ = exact(y, torch.zeros(4).double(), prior)
    x = sample_posterior(Gaussian(variance), y, N, steps=steps, generator=generator())
    assert_moments(x, mean, covariance)


def test_alike_noise_is_taken_away_in_one_sweep() -> None:
    """With R = ρ² A Aᵀ the reverse process from y is all there is."""
    y = LinearMeasurement(torch.eye(2).double(), torch.tensor([1.0, -1.0]).double(),
                          torch.full((2,), 0.25).double())  # fmt: skip
    x = sample_posterior(Gaussian(1.0), y, N, sweeps=1, annealing=0, steps=3, generator=generator())
    assert_moments(x, *exact(y, torch.zeros(2).double(), torch.eye(2).double())[:2])


def test_a_mixture_keeps_the_weights_of_its_parts() -> None:
    """Two humps that the data do not tell apart well: mean, covariance and share of each."""
    means = torch.tensor([[-1.0, -0.6], [1.0, 0.6]]).double()
    covariances = torch.stack([torch.eye(2), torch.eye(2)]).double() * 0.15
    weights = torch.tensor([0.3, 0.7]).double()
    y = LinearMeasurement(
        torch.tensor([[1.0, 0.2], [0.0, 1.0]]).double(), torch.tensor([0.1, -0.3]).double(),
        torch.tensor([0.6, 0.9]).double(),
    )  # fmt: skip
    parts = [exact(y, m, c) for m, c in zip(means, covariances, strict=True)]
    share = torch.softmax(torch.stack([p[2] for p in parts]) + weights.log(), 0)
    mean = sum(w * p[0] for w, p in zip(share, parts, strict=True))
    assert isinstance(mean, Tensor)
    covariance = sum(
        w * (p[1] + torch.outer(p[0] - mean, p[0] - mean))
        for w, p in zip(share, parts, strict=True)
    )
    assert isinstance(covariance, Tensor)
    prior = Mixture(weights, means, covariances)
    x = sample_posterior(prior, y, N, sweeps=40, steps=24, generator=generator())
    assert_moments(x, mean, covariance)


def test_denoising_a_gaussian_is_exact_in_any_number_of_steps() -> None:
    z = torch.full((N, 1), 2.0, dtype=torch.float64)
    x = denoise(Gaussian(1.0), z, rho=1.0, steps=1, low=-12.0, generator=generator())
    assert_moments(torch.cat([x, x.flip(0)], -1)[:, :1], torch.ones(1), torch.full((1, 1), 0.5))


def test_a_prior_of_a_surrogate_is_in_physical_units() -> None:
    """An untrained network knows the mean and covariance alone: a Gaussian prior."""
    true = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    centre = torch.tensor([10.0, -3.0], dtype=torch.float64)
    rows = torch.distributions.MultivariateNormal(centre, true)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        x = rows.sample((20_000,))
    prior = Surrogate.fit(
        x, x[:, :0], features=[Feature("a", "GeV"), Feature("b", "GeV")], inputs=[],
        method="diffusion", epochs=1, max_learning_rate=1e-12, device="cpu",
        options={"hidden": 8, "blocks": 1},
    )  # fmt: skip
    y = LinearMeasurement(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([12.0]).double(),
                          torch.tensor([1.5]).double())  # fmt: skip
    found = restore(prior, y, N, sweeps=60, steps=2)
    assert found.dtype == torch.float64
    assert torch.equal(found, restore(prior, y, N, sweeps=60, steps=2))
    assert_moments(found, *exact(y, centre, true)[:2])
    with pytest.raises(DataError, match="on 2 features"):
        restore(prior, measurement(), 3)


def test_a_prior_that_cannot_be_one_is_refused() -> None:
    x = torch.rand(500, 1, dtype=torch.float64)
    y = LinearMeasurement(
        torch.ones(1, 1).double(), torch.zeros(1).double(), torch.ones(1).double()
    )
    flow = Surrogate.fit(
        x, x[:, :0], features=[Feature("a")], inputs=[], method="coupling", epochs=1,
        options={"layers": 1, "hidden": [4]}, device="cpu",
    )  # fmt: skip
    with pytest.raises(SurrogateError, match="'diffusion'"):
        restore(flow, y, 2)
    bounded = Surrogate.fit(
        x, x[:, :0], features=[Feature("a", low=-1, high=2)], inputs=[], method="diffusion",
        epochs=1, options={"hidden": 4, "blocks": 1}, device="cpu",
    )  # fmt: skip
    with pytest.raises(SurrogateError, match="bounds"):
        restore(bounded, y, 2)


@pytest.mark.parametrize(
    ("observed", "variance", "words"),
    [
        ([0.0, 1.0], [1.0, 1.0, 1.0], "for 2 observed"),
        ([0.0, math.nan, 0.0], [1.0, 1.0, 1.0], "not finite"),
        ([0.0, 0.0, 0.0], [1.0, 0.0, 1.0], "without noise"),
    ],
)
def test_bad_measurements_are_refused(
    observed: list[float], variance: list[float], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        LinearMeasurement(torch.eye(3), torch.tensor(observed), torch.tensor(variance))


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="sweeps = 0"):
        sample_posterior(Gaussian(1.0), measurement(), 2, sweeps=0)
