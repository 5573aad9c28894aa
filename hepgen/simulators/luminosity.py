"""Parton luminosity of a proton–proton collision, and the rapidity of what it makes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hepgen.simulators.distributions import Interpolated, StageDistribution
from hepgen.simulators.pdf import QUARKS, toy_densities


class Luminosity:
    """x₁f_q(x₁)·x₂f_q̄(x₂) + (1 ↔ 2) of the toy densities, tabulated in mass and rapidity.

    Arguments:
        sqrt_s: Energy of the collider in GeV.
        window: Range of masses in GeV.
        masses, rapidities: Size of the table.
    """

    def __init__(
        self, sqrt_s: float, window: tuple[float, float], masses: int = 41, rapidities: int = 97
    ) -> None:
        self.sqrt_s = sqrt_s
        self.log_mass = torch.linspace(
            math.log(window[0]), math.log(window[1]), masses, dtype=torch.float64
        )
        # y/y_max, denser where the density falls towards the edge of phase space.
        self.scaled = torch.sin(
            torch.linspace(-math.pi / 2, math.pi / 2, rapidities, dtype=torch.float64)
        )
        y = self.scaled * self.y_max(self.log_mass)[:, None]
        tables = [sum(self.directions(self.log_mass[:, None], y, q[0])) for q in QUARKS]
        #: Shape (flavour, mass, rapidity).
        self.table = torch.stack([torch.as_tensor(t) for t in tables])
        #: ∫ dy for each flavour and mass.
        self.total = torch.trapezoid(self.table, self.scaled) * self.y_max(self.log_mass)

    def y_max(self, log_mass: Tensor) -> Tensor:
        """ln(√S/M)."""
        return math.log(self.sqrt_s) - log_mass

    def directions(self, log_mass: Tensor, y: Tensor, quark: str) -> tuple[Tensor, Tensor]:
        """The luminosity with the quark along +z and along −z."""
        log_tau = log_mass - math.log(self.sqrt_s)
        # At the very edge of phase space x = 1, where rounding must not give 1 + ε.
        first = toy_densities((log_tau + y).clamp(max=0.0))
        second = toy_densities((log_tau - y).clamp(max=0.0))
        return first[quark] * second[quark + "bar"], first[quark + "bar"] * second[quark]

    def bracket(self, log_mass: Tensor) -> tuple[Tensor, Tensor]:
        """The index of the mass below, and the fraction of the way to the next."""
        step = self.log_mass[1] - self.log_mass[0]
        position = (log_mass - self.log_mass[0]) / step
        index = position.detach().floor().clamp(0, len(self.log_mass) - 2)
        return index.long(), position - index

    def integrated(self, log_mass: Tensor) -> Tensor:
        """∫ L_q dy, shape ``(flavour, *)``, interpolated in ln M."""
        index, fraction = self.bracket(log_mass)
        return self.total[:, index] * (1 - fraction) + self.total[:, index + 1] * fraction


class Rapidity(StageDistribution):
    """p(y | M, flavour), between the rows of the luminosity's table.

    A row of the table is a density in y/y_max; between two masses the density is their
    mixture, with the fraction of the way as its weight, so it stays normalised.

    Arguments:
        luminosity: The tables.
        log_mass: ln M, shape ``(*batch)``.
        flavour: Index into the quarks, shape ``(*batch)``.
    """

    def __init__(self, luminosity: Luminosity, log_mass: Tensor, flavour: Tensor) -> None:
        self.y_max = luminosity.y_max(log_mass)
        index, fraction = luminosity.bracket(log_mass)
        table = luminosity.table.flatten(0, 1)
        row = flavour * luminosity.table.shape[1] + index
        self.scaled = Interpolated(luminosity.scaled.expand_as(table), table, row, fraction)
        super().__init__(log_mass.shape)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of shape ``(*batch)``."""
        return self.scaled.sample(sample_shape) * self.y_max

    def log_prob(self, value: Tensor) -> Tensor:
        """Log p(y)."""
        return self.scaled.log_prob(value / self.y_max) - self.y_max.log()
