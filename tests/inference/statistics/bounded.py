"""x ~ N(μ, 1) with μ ≥ 0, as a likelihood: its unified intervals are published."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.neyman import Measured
from hepgen.parameters import Parameter, ParameterSet, Uniform


@dataclass(frozen=True)
class Values:
    """x of S data sets, shape ``(S,)``."""

    x: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, part: slice | Tensor) -> Values:
        return Values(self.x[part])


class BoundedMean(Likelihood):
    """With a width that may be wrong, for toys that always have the width one."""

    def __init__(self, width: float = 1.0, high: float = 8.0) -> None:
        prior = Uniform(0.0, high)
        self.parameters = ParameterSet([Parameter("mu", 1.0, role="interest", prior=prior)])
        self.width = width

    def log_likelihoods(self, sets: Values, theta: Tensor) -> Tensor:  # type: ignore[override]
        z = (sets.x[:, None] - theta[..., 0]) / self.width
        return -0.5 * z.square() - math.log(self.width * math.sqrt(2 * math.pi))

    def generate(self, theta: Tensor, seed: int) -> Values:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(len(theta), generator=generator, dtype=torch.float64)
        return Values(theta.double()[:, 0] + noise)

    def asimov(self, theta: Tensor) -> Values:
        return Values(theta.double())


@dataclass(frozen=True)
class ClosedRatio:
    """−2 ln L(μ)/L(μ̂) in closed form."""

    likelihood: BoundedMean
    interest: tuple[str, ...] = ("mu",)
    conditions: tuple[str, ...] = ("mu",)

    @property
    def parameters(self) -> ParameterSet:
        return self.likelihood.parameters

    def __call__(self, sets: DataSets, psi: Tensor) -> Measured:
        assert isinstance(sets, Values)
        mu, x = psi[..., 0], sets.x[:, None]
        t = (x - mu).square() - (x - x.clamp(min=0)).square()
        return Measured(t.clamp(min=0) / self.likelihood.width**2, psi)


def toys(number: int, seed: int, high: float = 8.0) -> Tensor:
    """θ of toys, of which a part is upon the boundary and more are near to it."""
    u = torch.rand(number, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return high * (1.1 * u - 0.1).clamp(min=0) ** 1.5
