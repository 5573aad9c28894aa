"""Distributions of a resonance on a falling spectrum: a mixture whose weight may be negative."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hepgen.simulators.distributions import StageDistribution
from hepgen.simulators.parton import resonance_angle, resonance_mass


class SignedMixture(StageDistribution):
    r"""p(x) = (1 − w)·p₀(x) + w·p₁(x), with w ≤ 1 of either sign.

    For w < 0 it is a density wherever (1 − w)·p₀ exceeds \|w\|·p₁, which is for the caller to
    check. Sampled by rejection from p₀ then, and as a mixture otherwise; both are exact.

    Arguments:
        weight: w, shape ``(*batch)``.
        first, second: p₀ and p₁, scalar distributions that broadcast with it.

    >>> from torch.distributions import Uniform
    >>> wide, narrow = Uniform(0.0, 4.0), Uniform(1.0, 2.0)
    >>> deficit = SignedMixture(torch.tensor(-0.25), wide, narrow)
    >>> deficit.log_prob(torch.tensor(1.5)).exp()
    tensor(0.0625)
    """

    def __init__(self, weight: Tensor, first: Any, second: Any) -> None:
        self.weight, self.first, self.second = weight, first, second
        super().__init__(
            torch.broadcast_shapes(  # type: ignore[no-untyped-call]
                weight.shape, first.batch_shape, second.batch_shape
            )
        )

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        with torch.no_grad():
            first, second = (d.expand(self.batch_shape) for d in (self.first, self.second))
            chosen = self._uniform(sample_shape) < self.weight
            drawn = torch.where(chosen, second.sample(sample_shape), first.sample(sample_shape))
            refused = self._uniform(sample_shape) >= self._acceptance(drawn)
            while refused.any():
                drawn = torch.where(refused, first.sample(sample_shape), drawn)
                refused &= self._uniform(sample_shape) >= self._acceptance(drawn)
            result: Tensor = drawn
            return result

    def log_prob(self, value: Tensor) -> Tensor:
        """Log p(x); NaN where the combination is negative."""
        return self._combined(self.weight, value).log()

    def _combined(self, weight: Tensor, value: Tensor) -> Tensor:
        first, second = (d.log_prob(value).exp() for d in (self.first, self.second))
        combined: Tensor = first * (1 - weight) + second * weight
        return combined

    def _acceptance(self, value: Tensor) -> Tensor:
        """The density over that of the proposal, which is the mixture or (1 − w)·p₀."""
        proposed = (1 - self.weight) * self.first.log_prob(value).exp()
        return torch.where(self.weight < 0, self._combined(self.weight, value) / proposed, 1.0)


class BreitWigner(StageDistribution):
    r"""The relativistic line in m², normalised over a window of m.

    .. math:: p(m) = \frac{2 m}{u_2 - u_1}\,\frac{m_X \Gamma}{(m^2 - m_X^2)^2 + m_X^2 \Gamma^2},
              \qquad u = \arctan\frac{m^2 - m_X^2}{m_X \Gamma}

    Arguments:
        mass, width: m_X and Γ in GeV, shape ``(*batch)``.
        window: GeV.
    """

    def __init__(self, mass: Tensor, width: Tensor, window: tuple[float, float]) -> None:
        self.mass, self.width = mass, width
        self.low, self.high = window
        self.ends = [
            resonance_angle(torch.tensor(end, dtype=torch.float64), mass, width) for end in window
        ]
        super().__init__(self.ends[0].shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws in GeV, shape ``(*sample_shape, *batch)``."""
        with torch.no_grad():
            return self.quantile(self._uniform(sample_shape))

    def quantile(self, share: Tensor) -> Tensor:
        """The mass below which a share of the line lies."""
        u = self.ends[0] + (self.ends[1] - self.ends[0]) * share
        # Rounding at the ends must not leave the window.
        return resonance_mass(u, self.mass, self.width).clamp(self.low, self.high)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(m) in 1/GeV, −∞ outside the window."""
        scale = self.mass * self.width
        distance = value.square() - self.mass.square()
        line = 2 * value * scale / (distance.square() + scale.square())
        inside = (value >= self.low) & (value <= self.high)
        return torch.where(inside, line, 0.0).log() - (self.ends[1] - self.ends[0]).log()


class ExchangeAngle(StageDistribution):
    r"""p(c) ∝ 1/(1 − \|c\|)² for \|c\| < c_max: exchange of a gluon in the t or u channel.

    Arguments:
        limit: c_max < 1.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        super().__init__(())

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        # ∫₀ᶜ (1 − c)⁻² dc = c/(1 − c).
        u = 2 * self._uniform(sample_shape) - 1
        t = u.abs() * self.limit / (1 - self.limit)
        return u.sign() * t / (1 + t)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(c), −∞ beyond the limit."""
        density = (1 - value.abs()).square().reciprocal() * (1 - self.limit) / (2 * self.limit)
        return torch.where(value.abs() <= self.limit, density, 0.0).log()


class DecayAngle(StageDistribution):
    r"""p(c) ∝ 1 + a c² for \|c\| < c_max: a decay of a scalar (a = 0) or a vector (a = 1).

    Arguments:
        limit: c_max.
        spin: a, 0 or 1.
    """

    def __init__(self, limit: float, spin: int) -> None:
        self.limit, self.spin = limit, spin
        self.integral = limit + spin * limit**3 / 3
        super().__init__(())

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*sample_shape, *batch)``."""
        t = self.integral * (2 * self._uniform(sample_shape) - 1)
        # The root of c + c³/3 = t.
        return 2 * torch.sinh(torch.asinh(1.5 * t) / 3) if self.spin else t

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(c), −∞ beyond the limit."""
        shape = torch.log1p(self.spin * value.square()) - math.log(2 * self.integral)
        return torch.where(value.abs() <= self.limit, shape, -math.inf)
