r"""The strong coupling as a shower uses it: the clock of its trials, and what accepts them.

Trials come at the rate dP/dt = α_over(t)·c·L(t), t = ln k_T², L = W − n t the rapidity that is
open to n dipoles of total length W. The coupling of the overestimate is that of
:math:`\alpha_\mathrm{max}`, whatever θ is, and a trial is kept with a probability that
contains the ratio α_s(t; θ)/α_over(t) ≤ 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

REFERENCE = 2 * math.log(91.1876)  # ln(m_Z²/GeV²), where α_s is given


class Coupling(ABC):
    """An overestimate of α_s that does not depend on θ."""

    alpha_max: float

    @abstractmethod
    def over(self, t: Tensor) -> Tensor:
        """α_over(t)."""

    @abstractmethod
    def ratio(self, alpha_s: Tensor, t: Tensor) -> Tensor:
        """α_s(t; θ)/α_over(t)."""

    @abstractmethod
    def integral(self, t: Tensor, lower: Tensor, length: Tensor, dipoles: Tensor) -> Tensor:
        """∫ α_over(t') L(t') dt' from ``lower`` to ``t``, where L(t) = ``length``."""

    @abstractmethod
    def next_scale(self, t: Tensor, length: Tensor, dipoles: Tensor, area: Tensor) -> Tensor:
        """The t' < t above which the integral is ``area``."""


@dataclass(frozen=True)
class FixedCoupling(Coupling):
    """A coupling that does not run.

    >>> clock = FixedCoupling(0.2)
    >>> t, length, one = torch.tensor(2.0), torch.tensor(3.0), torch.tensor(1.0)
    >>> clock.integral(t, clock.next_scale(t, length, one, torch.tensor(0.7)), length, one)
    tensor(0.7000)
    """

    alpha_max: float = 0.2

    def over(self, t: Tensor) -> Tensor:
        """α_max."""
        return torch.full_like(t, self.alpha_max)

    def ratio(self, alpha_s: Tensor, t: Tensor) -> Tensor:
        """α_s/α_max."""
        return (alpha_s / self.alpha_max).expand(t.shape)

    def integral(self, t: Tensor, lower: Tensor, length: Tensor, dipoles: Tensor) -> Tensor:
        """α_max (LΔ + nΔ²/2), Δ = t − t'."""
        step = t - lower
        return self.alpha_max * step * (length + 0.5 * dipoles * step)

    def next_scale(self, t: Tensor, length: Tensor, dipoles: Tensor, area: Tensor) -> Tensor:
        """The root of a quadratic."""
        target = area / self.alpha_max
        root = (length.square() + 2 * dipoles * target).sqrt()
        return t - 2 * target / (length + root)


@dataclass(frozen=True)
class RunningCoupling(Coupling):
    r"""One loop: 1/α_s(t) = 1/α_s(m_Z) + β (t − ln m_Z²), β = (33 − 2n_f)/12π.

    With u = 1/(β α_over) = t − t_Λ and y = ln(u₀/u),
    :math:`\beta\int\alpha_\mathrm{over} L\,dt = L_0 y + n u_0 (e^{-y} - 1 + y)`.

    Arguments:
        alpha_max: The largest α_s(m_Z) of a parameter point.
        flavours: n_f, at every scale.

    >>> clock = RunningCoupling(0.15)
    >>> t, length, one = torch.tensor(5.0), torch.tensor(3.0), torch.tensor(1.0)
    >>> clock.integral(t, clock.next_scale(t, length, one, torch.tensor(0.7)), length, one)
    tensor(0.7000)
    """

    alpha_max: float = 0.15
    flavours: int = 5

    @property
    def slope(self) -> float:
        """β."""
        return (33 - 2 * self.flavours) / (12 * math.pi)

    @property
    def pole(self) -> float:
        """t_Λ, where the overestimate diverges."""
        return REFERENCE - 1 / (self.slope * self.alpha_max)

    def over(self, t: Tensor) -> Tensor:
        """α_over(t) = 1/(β (t − t_Λ))."""
        return 1 / (self.slope * (t - self.pole))

    def ratio(self, alpha_s: Tensor, t: Tensor) -> Tensor:
        """α_s(t; θ)/α_over(t)."""
        return self.slope * (t - self.pole) / (1 / alpha_s + self.slope * (t - REFERENCE))

    def integral(self, t: Tensor, lower: Tensor, length: Tensor, dipoles: Tensor) -> Tensor:
        """In closed form."""
        u = t - self.pole
        y = (u / (lower - self.pole)).log()
        return (length * y + dipoles * u * (torch.expm1(-y) + y)) / self.slope

    def next_scale(self, t: Tensor, length: Tensor, dipoles: Tensor, area: Tensor) -> Tensor:
        """By Newton's method, from above on a convex function: four steps reach rounding."""
        u = t - self.pole
        curve = dipoles * u
        target = area * self.slope
        y = 2 * target / (length + (length.square() + 2 * curve * target).sqrt())
        for _ in range(4):
            fall = torch.exp(-y)
            excess = length * y + curve * (fall - 1 + y) - target
            y = y - excess / (length + curve * (1 - fall))
        return self.pole + u * torch.exp(-y)
