"""Small models with known answers, shared by the tests of inference."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.event_sets import EventSets, pad
from hepgen.inference.nle import NLE
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform


class GaussianMean:
    """x ~ N(μ, σ²) with μ ~ N(0, 1) and known σ: the posterior is a Gaussian in closed form."""

    def __init__(self, sigma: float = 2.0) -> None:
        self.parameters = ParameterSet(
            [Parameter("mu", 0.0, role="interest", prior=Normal(0.0, 1.0))]
        )
        self.features = (Feature("x"),)
        self.sigma = sigma

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(len(theta), 1, generator=generator, dtype=torch.float64)
        return theta + self.sigma * noise

    def posterior(self, x: Tensor) -> tuple[float, float]:
        """Mean and standard deviation."""
        precision = 1 + len(x) / self.sigma**2
        return float(x.sum() / self.sigma**2 / precision), precision**-0.5

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        return pad(list(x), weight, [torch.zeros(len(one), dtype=torch.float64) for one in x])

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        z = (sets.events[:, :, None, 0] - theta[:, None, :, 0]) / self.sigma
        norm = torch.log(torch.tensor(self.sigma * (2 * torch.pi) ** 0.5))
        return torch.einsum("snk,sn->sk", -0.5 * z**2 - norm, sets.weight) + sets.constant[:, None]


class Line:
    """x ~ N(a + b·t, σ²) with t uniform in (0, 1): three parameters, one of them bounded.

    The features are x and t; σ ~ U(0.5, 2), a, b ~ N(0, 2²).
    """

    def __init__(self) -> None:
        self.parameters = ParameterSet(
            [
                Parameter("a", 0.0, role="interest", prior=Normal(0.0, 2.0)),
                Parameter("b", 0.0, prior=Normal(0.0, 2.0)),
                Parameter("sigma", 1.0, prior=Uniform(0.5, 2.0)),
            ]
        )

    def simulate(self, n: int, theta: Tensor, generator: torch.Generator) -> Tensor:
        t = torch.rand(n, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        a, b, sigma = theta.unbind(-1)
        return torch.stack([a + b * t + sigma * noise, t], dim=-1)

    def encode(self, x: Sequence[Tensor], weight: Sequence[Tensor | None]) -> EventSets:
        return pad(list(x), weight, [torch.zeros(len(one), dtype=torch.float64) for one in x])

    def log_likelihoods(self, sets: EventSets, theta: Tensor) -> Tensor:
        a, b, sigma = theta[:, None].unbind(-1)
        x, t = sets.events[:, :, None].unbind(-1)
        log_p = -0.5 * ((x - a - b * t) / sigma) ** 2 - torch.log(sigma)
        return torch.einsum("snk,sn->sk", log_p, sets.weight)


class Peak:
    """A logistic peak in a mass window, with a tenth of flat background; d = 1, D = 2."""

    feature = Feature("mass", "GeV", low=60.0, high=120.0)
    parameters = ParameterSet(
        [
            Parameter("mass", 91.0, "GeV", "interest", Uniform(88.0, 94.0)),
            Parameter("width", 2.0, "GeV", prior=Uniform(1.0, 4.0)),
        ]
    )

    def simulate(self, theta: Tensor, generator: torch.Generator) -> Tensor:
        """One event a row of θ."""
        u = torch.rand(len(theta), 3, generator=generator, dtype=torch.float64)
        peak = theta[:, 0] + theta[:, 1] * torch.logit(u[:, 0].clamp(1e-4, 1 - 1e-4)) / 2
        flat = 60 + 60 * u[:, 1]
        x = torch.where((u[:, 2] < 0.1) | (peak <= 60) | (peak >= 120), flat, peak)
        return x.clamp(60.0001, 119.9999)[:, None]

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """The exact density, without the 10⁻¹³ or so of the peak outside the window."""
        scale = theta[:, 1] / 2
        z = (x - theta[:, 0]) / scale
        signal = torch.exp(-z.abs() - 2 * torch.log1p(torch.exp(-z.abs()))) / scale
        return torch.log(0.9 * signal + 0.1 / 60)


@pytest.fixture(scope="session")
def gaussian() -> GaussianMean:
    return GaussianMean()


@pytest.fixture(scope="session")
def line() -> Line:
    return Line()


@pytest.fixture(scope="session")
def peak() -> Peak:
    return Peak()


@pytest.fixture(scope="session")
def nle(peak: Peak) -> NLE:
    """p(mass | θ) learned from 100,000 events of the peak."""
    generator = torch.Generator().manual_seed(0)
    theta = peak.parameters.prior().sample((100_000,), generator)
    return NLE.fit(
        peak.simulate(theta, generator), theta, features=[peak.feature],
        parameters=peak.parameters, hidden=(32, 32), epochs=8, batch_size=1000,
    )  # fmt: skip
