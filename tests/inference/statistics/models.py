"""Likelihoods with known answers, for the tests of statistics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.inference.binned import BinnedChannel, BinnedLikelihood, BinnedSample, Factor
from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform


@dataclass(frozen=True)
class Measured:
    """Measurements, shape ``(S, N)``, and auxiliary ones, ``(S, G)``."""

    y: Tensor
    a: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, part: slice | Tensor) -> Measured:
        return Measured(self.y[part], self.a[part])


class Line(Likelihood):
    """y = Xθ + noise of one: every statement is in closed form.

    μ and slope are only bounded, ν₁ and ν₂ have constraints of width 1 and 0.5.
    """

    sigma = torch.tensor([torch.inf, torch.inf, 1.0, 0.5], dtype=torch.float64)

    def __init__(self, low: float = -50.0, high: float = 50.0) -> None:
        self.parameters = ParameterSet(
            [
                Parameter("mu", 1.0, role="interest", prior=Uniform(low, high)),
                Parameter("slope", 0.0, role="nuisance", prior=Uniform(-30.0, 30.0)),
                Parameter("nu_1", 0.0, prior=Normal(0.0, 1.0)),
                Parameter("nu_2", 0.0, prior=Normal(0.0, 0.5)),
            ]
        )
        t = torch.linspace(0, 1, 12, dtype=torch.float64)
        self.design = torch.stack([torch.ones_like(t), t - 0.3, (3 * t).sin(), t**2], dim=-1)
        self.precision = self.design.mT @ self.design + torch.diag(self.sigma**-2)

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        assert isinstance(sets, Measured)
        theta = theta.double()
        residual = sets.y[:, None] - theta @ self.design.mT
        pull = (sets.a[:, None] - theta[..., 2:]) / self.sigma[2:]
        return -0.5 * (residual.square().sum(-1) + pull.square().sum(-1))

    def generate(self, theta: Tensor, seed: int) -> Measured:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(theta), 14, generator=generator, dtype=torch.float64)
        return Measured(
            theta @ self.design.mT + noise[:, :12], theta[:, 2:] + self.sigma[2:] * noise[:, 12:]
        )

    def asimov(self, theta: Tensor) -> Measured:
        return Measured((self.design @ theta)[None], theta[None, 2:])

    def best(self, sets: Measured) -> Tensor:
        """The exact best fits, shape ``(S, D)``."""
        zero = torch.zeros(len(sets), 2, dtype=torch.float64)
        right = sets.y @ self.design + torch.cat([zero, sets.a / self.sigma[2:] ** 2], dim=-1)
        best: Tensor = torch.linalg.solve(self.precision, right.mT)
        return best.mT

    @property
    def covariance(self) -> Tensor:
        """Of every fit."""
        inverse: Tensor = torch.linalg.inv(self.precision)
        return inverse

    def truth(self, mu: float = 1.0) -> Tensor:
        """A point to generate at."""
        return torch.tensor([mu, 0.5, 0.2, -0.1], dtype=torch.float64)


class Rough(Line):
    """Beyond μ = 2.5 log L has no gradient, so no search arrives."""

    def log_likelihoods(self, sets: DataSets, theta: Tensor) -> Tensor:
        one = torch.where(theta[..., 0] > 2.5, 0 * theta[..., 2], 1.0)
        return super().log_likelihoods(sets, theta) + one.sqrt() - one.detach()


def counting(signal: float, background: float, low: float = -5.0) -> BinnedLikelihood:
    """n ~ Pois(μs + b) with a known background."""
    samples = (
        BinnedSample("signal", (signal,), (Factor("mu"),)),
        BinnedSample("background", (background,)),
    )
    mu = Parameter("mu", 1.0, role="interest", prior=Uniform(low, 20.0))
    return BinnedLikelihood([BinnedChannel("counts", samples)], ParameterSet([mu]))
