"""The prior in the space where posteriors are trained and sampled."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hepgen.parameters import Normal, ParameterSet, PriorDistribution, Uniform


class UnboundedPrior:
    """p(u) = p(θ(u)) |dθ/du| over ℝᴰ, for a bijection u = b(θ) of the parameters.

    For uniform and Gaussian priors u = Φ⁻¹(F(θ)), with the cumulative distribution F of the
    prior: every u is a standard Gaussian before the data, and near a Gaussian after them,
    whether they say much about it or nothing. A logit would give the second kind the tails
    of a logistic, which a Gaussian proposal misses. Any other prior brings its own bijection.

    >>> from hepgen.parameters import Parameter
    >>> prior = UnboundedPrior(ParameterSet([Parameter("a", 0.5, prior=Uniform(0.0, 1.0))]))
    >>> prior.physical(torch.tensor([[0.0], [1.0]], dtype=torch.float64)).flatten()
    tensor([0.5000, 0.8413], dtype=torch.float64)
    """

    def __init__(self, parameters: ParameterSet) -> None:
        self.names = parameters.free_names
        self.prior: PriorDistribution = parameters.prior()
        priors = parameters.priors
        self._gaussian = all(isinstance(p, (Uniform, Normal)) for p in priors)
        self._bounded = torch.tensor([isinstance(p, Uniform) for p in priors])
        location = [p.mean if isinstance(p, Normal) else p.low for p in priors]
        scale = [p.std if isinstance(p, Normal) else p.high - p.low for p in priors]
        self._location = torch.tensor(location, dtype=torch.float64)
        self._scale = torch.tensor(scale, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.names)

    def physical(self, u: Tensor) -> Tensor:
        """θ, shape ``(*, D)``, float64."""
        u = u.double()
        if not self._gaussian:
            return self.prior.physical(u)
        return self._location + self._scale * torch.where(self._bounded, torch.special.ndtr(u), u)

    def unbounded(self, theta: Tensor) -> Tensor:
        """u = b(θ), shape ``(*, D)``, float64."""
        if not self._gaussian:
            return self.prior.unbounded(theta.double())
        z = (theta.double() - self._location) / self._scale
        # A fraction of 0 or 1 is a rounded one: the largest u whose Φ(u) differs from it.
        fraction = z.clamp(1e-16, 1 - 2**-53)
        return torch.where(self._bounded, torch.special.ndtri(fraction), z)

    def log_jacobian(self, u: Tensor) -> Tensor:
        """log |dθ/du|, shape ``(*,)``."""
        if not self._gaussian:
            return self.prior.log_jacobian(u)
        bounded = -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
        slope = torch.where(self._bounded, bounded, torch.zeros_like(u))
        return (slope + self._scale.log()).sum(-1)

    def log_prob(self, u: Tensor) -> Tensor:
        """log p(u), shape ``(*,)``."""
        if not self._gaussian:
            return self.prior.log_prob(self.prior.physical(u)) + self.prior.log_jacobian(u)
        return -0.5 * u.square().sum(-1) - 0.5 * len(self) * math.log(2 * math.pi)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws of u, shape ``(n, D)``."""
        return self.unbounded(self.prior.sample((n,), generator))
