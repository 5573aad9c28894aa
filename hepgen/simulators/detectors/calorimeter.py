"""Calorimeter: the energy in the cells of ECAL and HCAL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from hepgen.simulators.coordinates import cylindrical, momenta
from hepgen.simulators.detectors import grid
from hepgen.simulators.detectors.nuisances import (
    ECAL_RESOLUTION,
    ECAL_SCALE,
    HCAL_RESOLUTION,
    HCAL_SCALE,
)
from hepgen.simulators.detectors.species import electromagnetic_share, hadronic_share
from hepgen.simulators.detectors.tracker import PARTICLES
from hepgen.simulators.distributions import Padded, RelativeLogNormal
from hepgen.simulators.jagged import packed, padded, rows
from hepgen.simulators.stage import Stage, State


def ecal_resolution(energy: Tensor, eta: Tensor) -> Tensor:
    r"""σ_E [GeV] of the ECAL for an energy in GeV; shapes broadcast.

    √(0.008²E² + 0.11²E + 0.40²) times 1 + 0.64η² for \|η\| ≤ 1.5 and times
    2.16 + 5.6(\|η\| − 2)² up to 2.5; √(0.107²E² + 2.08²E) beyond.
    """
    x = eta.abs()
    central = (0.008**2 * energy.square() + 0.11**2 * energy + 0.40**2).sqrt()
    forward = (0.107**2 * energy.square() + 2.08**2 * energy).sqrt()
    shape = torch.where(x <= 1.5, 1 + 0.64 * x.square(), 2.16 + 5.6 * (x - 2).square())
    return torch.where(x <= 2.5, shape * central, forward)


def hcal_resolution(energy: Tensor, eta: Tensor) -> Tensor:
    r"""σ_E [GeV] of the HCAL for an energy in GeV; shapes broadcast.

    √(0.05²E² + 1.5²E) for \|η\| ≤ 3, √(0.13²E² + 2.7²E) beyond.
    """
    central = (0.05**2 * energy.square() + 1.5**2 * energy).sqrt()
    forward = (0.13**2 * energy.square() + 2.7**2 * energy).sqrt()
    return torch.where(eta.abs() <= 3, central, forward)


@dataclass(frozen=True)
class Section:
    """ECAL or HCAL.

    Arguments:
        name: ``ecal`` or ``hcal``.
        cells: Its cells.
        resolution: σ_E(E, η).
        share: Of the energy of a particle, by PDG id.
        energy_min: GeV, of a tower.
        significance_min: E/σ_E of a tower.
    """

    name: str
    cells: grid.CellGrid
    resolution: Callable[[Tensor, Tensor], Tensor]
    share: Callable[[Tensor], Tensor]
    energy_min: float
    significance_min: float

    @property
    def columns(self) -> tuple[str, str, str]:
        """What the stage writes of it: measured energy, number of the cell, how many."""
        prefix = self.name.capitalize()
        return f"{prefix}_e", f"{prefix}_cell", f"n{prefix}"

    def passes(self, energy: Tensor, sigma: Tensor) -> Tensor:
        """Whether an energy with its σ is above both thresholds."""
        return (energy > self.energy_min) & (energy > self.significance_min * sigma)


ECAL = Section("ecal", grid.ECAL, ecal_resolution, electromagnetic_share, 0.5, 2.0)
HCAL = Section("hcal", grid.HCAL, hcal_resolution, hadronic_share, 1.0, 1.0)
TOWERS = ("Tower_e", "Tower_eta", "Tower_phi", "Tower_em", "nTower")


class Calorimeter(Stage):
    r"""ECAL and HCAL as in the Delphes CMS card (``SimpleCalorimeter.cc``), with its cells.

    e, γ and π⁰ leave their energy in the ECAL, K⁰_S and Λ 30 % of it and the rest in the HCAL,
    other hadrons all of it in the HCAL, muons and neutrinos nothing. The energies of a cell are
    added, and the sum is measured with a log-normal of mean E·(1 + ``ecal_scale``) and width
    ``ecal_resolution``·σ_E(E, η); the same with ``hcal_``. A tower is a cell whose measured
    energy is above 0.5 GeV (ECAL) or 1 GeV (HCAL), and above 2σ_E or 1σ_E at that energy.

    The columns ``Ecal_*`` and ``Hcal_*`` have all cells that were hit. A tower is in the middle
    of its cell, where Delphes draws a place in it; ``Tower_em`` is 1 in the ECAL, 0 in the HCAL.

    Sites: ``ecal_energy`` and ``hcal_energy`` (GeV), of the cells that were hit.
    """

    name = "calorimeter"
    parameters = (ECAL_SCALE, ECAL_RESOLUTION, HCAL_SCALE, HCAL_RESOLUTION)
    requires = PARTICLES
    provides = (*ECAL.columns, *HCAL.columns, *TOWERS)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the energy of every cell that is hit."""
        px, py, pz, e = momenta(state, "Particle")
        _, eta, phi = cylindrical(px, py, pz)
        new: State = {}
        for part in (ECAL, HCAL):
            deposit = e * part.share(state["Particle_id"])
            collected = collect(deposit, part.cells.cell(eta, phi), part.cells.size)
            new |= dict(zip(part.columns, measure(part, *collected, parameters), strict=True))
        return state | new | towers(new)


def collect(energy: Tensor, cell: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The energy in each cell that is hit.

    Arguments:
        energy, cell: GeV, and the number of the cell (−1: none), shape ``(G, E, K)``.
        size: How many cells there are.

    Returns:
        Energy and cell, shape ``(G, E, T)``, by increasing number, and how many, ``(G, E)``.

    >>> deposit = torch.tensor([[[1.0, 2.0, 4.0]]])
    >>> collect(deposit, torch.tensor([[[7, 3, 7]]]), 10)
    (tensor([[[2., 5.]]]), tensor([[[3, 7]]]), tensor([[2]]))
    """
    hit = (energy > 0) & (cell >= 0)
    key, place = torch.unique(rows(hit) * size + cell[hit], return_inverse=True)
    total = torch.zeros(len(key), dtype=energy.dtype).index_add_(0, place, energy[hit])
    shape = (energy.shape[0], energy.shape[1])
    summed, number, count = padded(key // size, shape, total, key % size)
    return summed, number, count


def measure(
    part: Section, energy: Tensor, cell: Tensor, count: Tensor, parameters: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The measured energy of cells, with their numbers and count."""
    hit = energy > 0
    eta, _ = part.cells.centre(cell)
    mean = energy * (1 + parameters[f"{part.name}_scale"][..., None])
    relative = part.resolution(energy, eta) / energy.clamp_min(1e-300)
    width = relative * parameters[f"{part.name}_resolution"][..., None]
    smearing = Padded(RelativeLogNormal(mean[hit], width[hit]), hit)
    measured = pyro.sample(f"{part.name}_energy", smearing)
    return measured[..., : energy.shape[-1]], cell, count


def towers(state: State) -> State:
    """The cells above threshold, ECAL before HCAL."""
    found = []
    for part in (ECAL, HCAL):
        energy, cell = (state[c] for c in part.columns[:2])
        eta, phi = part.cells.centre(cell)
        kept = part.passes(energy, part.resolution(energy, eta))
        found.append((kept, energy, eta, phi, torch.full_like(energy, float(part is ECAL))))
    kept, *columns = (torch.cat(pair, dim=-1) for pair in zip(*found, strict=True))
    return dict(zip(TOWERS, packed(kept, *columns), strict=True))
