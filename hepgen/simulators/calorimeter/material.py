"""What a calorimeter is made of, and how it is divided into cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hepgen.errors import WorkflowError

#: The energy scale of multiple scattering as in Geant4's GFlash, MeV (Rossi: 21.2).
SCATTERING_ENERGY = 21.0


@dataclass(frozen=True)
class Material:
    r"""A homogeneous medium.

    .. math:: E_c = 2.66 \left(\frac{X_0 Z}{A}\right)^{1.1} \mathrm{MeV}, \qquad
              R_M = X_0\,\frac{21\ \mathrm{MeV}}{E_c}

    with X₀ in g/cm² (Grindhammer, Peters, hep-ex/0001020).

    Arguments:
        z, a: Effective atomic number and mass.
        radiation_length: X₀ in g/cm².
        density: g/cm³.

    >>> round(LEAD_TUNGSTATE.critical_energy, 2), round(LEAD_TUNGSTATE.moliere_radius, 1)
    (8.77, 21.4)
    """

    z: float
    a: float
    radiation_length: float
    density: float

    @property
    def critical_energy(self) -> float:
        """E_c in MeV."""
        return 2.66 * float((self.radiation_length * self.z / self.a) ** 1.1)

    @property
    def moliere_radius(self) -> float:
        """R_M in mm."""
        length = 10 * self.radiation_length / self.density
        return length * SCATTERING_ENERGY / self.critical_energy


LEAD_TUNGSTATE = Material(z=68.4, a=170.9, radiation_length=7.39, density=8.28)


@dataclass(frozen=True)
class Geometry:
    """Layers of square cells, seen by a particle that comes along the depth.

    Arguments:
        layers: In depth.
        eta_cells, phi_cells: In each layer.
        depth: Of all layers together, in X₀.
        cell_size: The side of a cell, mm.

    >>> Geometry().shape, Geometry().voxels
    ((10, 12, 12), 1440)
    """

    layers: int = 10
    eta_cells: int = 12
    phi_cells: int = 12
    depth: float = 25.0
    cell_size: float = 22.0

    def __post_init__(self) -> None:
        if min(*self.shape, self.depth, self.cell_size) <= 0:
            raise WorkflowError(
                f"a calorimeter of {self.layers} x {self.eta_cells} x {self.phi_cells} cells of "
                f"{self.cell_size} mm and {self.depth} X0: expected positive numbers"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, cells in η, cells in φ."""
        return self.layers, self.eta_cells, self.phi_cells

    @property
    def voxels(self) -> int:
        """All cells."""
        return self.layers * self.eta_cells * self.phi_cells

    def edges(self, slices: int = 1) -> Tensor:
        """The depths between slices of the layers, X₀, shape ``(layers · slices + 1,)``."""
        return torch.linspace(0, self.depth, self.layers * slices + 1, dtype=torch.float64)

    @cached_property
    def middles(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centres of the cells: depth in X₀; η and φ in cells from the centre."""
        edges = self.edges()
        return 0.5 * (edges[1:] + edges[:-1]), _around(self.eta_cells), _around(self.phi_cells)


def _around(cells: int) -> Tensor:
    return torch.arange(cells, dtype=torch.float64) - 0.5 * (cells - 1)
