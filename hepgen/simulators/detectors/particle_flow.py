"""Particle flow: tracks and cells, combined so that nothing is counted twice."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hepgen.simulators.coordinates import cartesian
from hepgen.simulators.detectors.calorimeter import ECAL, HCAL, Section
from hepgen.simulators.detectors.species import ELECTRON, MUON, NEUTRAL_HADRON, PHOTON
from hepgen.simulators.detectors.tracker import TRACKS, relative_resolution
from hepgen.simulators.jagged import packed
from hepgen.simulators.stage import Stage, State

FLOW = ("Flow_px", "Flow_py", "Flow_pz", "Flow_e", "Flow_id", "nFlow")


class ParticleFlow(Stage):
    r"""Tracks, photons and neutral hadrons, as ``SimpleCalorimeter.cc`` of Delphes makes them.

    In each cell the energy of the tracks that point at it, E_T ± σ_T, meets the measured energy,
    E ± σ (zero where it is below threshold). An excess E − E_T above the threshold and above 2
    (ECAL) or 1 (HCAL) of √(σ_T² + σ²) is a photon (ECAL) or a neutral hadron (HCAL), massless,
    from the origin to the middle of the cell. Else the momenta of the tracks are scaled to

    .. math:: \left(E_T/\sigma_T^2 + E/\sigma^2\right) / \left(1/\sigma_T^2 + 1/\sigma^2\right).

    Electrons meet the ECAL, charged hadrons the HCAL, muons neither. The σ are the card's:
    a measurement does not know its nuisance parameters. A deterministic stage.

    ``Flow_id`` is the PDG id of the track's particle, 22, or 130 for a neutral hadron.
    """

    name = "particle_flow"
    requires = (*TRACKS, *ECAL.columns, *HCAL.columns)
    provides = FLOW

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Combine what was measured in every event."""
        pt, eta, phi, mass, pdg_id = (
            state[f"Track_{c}"] for c in ("pt", "eta", "phi", "mass", "id")
        )
        electron, muon = pdg_id.abs() == ELECTRON, pdg_id.abs() == MUON
        tracks = (pt, eta, phi, mass, relative_resolution(pdg_id, pt, eta))
        photons, by_ecal = excess(ECAL, state, tracks, (pt > 0) & electron)
        neutral, by_hcal = excess(HCAL, state, tracks, (pt > 0) & ~electron & ~muon)
        px, py, pz = cartesian(pt * by_ecal * by_hcal, eta, phi)
        energy = (px.square() + py.square() + pz.square() + mass.square()).sqrt()
        charged = (torch.where(pt > 0, energy, 0.0), px, py, pz, pdg_id)
        parts = [charged, _massless(ECAL, state, photons), _massless(HCAL, state, neutral)]
        e, px, py, pz, pdg_id = (torch.cat(column, dim=-1) for column in zip(*parts, strict=True))
        return state | dict(zip(FLOW, packed(e > 0, px, py, pz, e, pdg_id), strict=True))


def excess(
    part: Section, state: State, tracks: tuple[Tensor, ...], pointing: Tensor
) -> tuple[Tensor, Tensor]:
    """The energy that tracks leave unexplained, and the factor on each track's momentum.

    Arguments:
        part: ECAL or HCAL.
        state: With its columns.
        tracks: pT, η, φ, mass, σ(pT)/pT, shape ``(G, E, K)``.
        pointing: Which of the tracks meet it.

    Returns:
        GeV, shape ``(G, E, T)``, zero where it is not significant; a factor, ``(G, E, K)``.
    """
    pt, eta, phi, mass, relative = tracks
    measured, cell, count = (state[c] for c in part.columns)
    number, meets = slot(cell, count, part.cells.cell(eta, phi), pointing)
    energy = torch.where(meets, torch.hypot(pt * torch.cosh(eta), mass), 0.0)
    charged = torch.zeros_like(measured).scatter_add(-1, number, energy)
    variance = torch.zeros_like(measured).scatter_add(-1, number, (relative * energy).square())
    sigma = part.resolution(measured, part.cells.centre(cell)[0])
    seen = torch.where(part.passes(measured, sigma), measured, 0.0)
    above = (seen - charged).clamp_min(0)
    neutral = torch.where(part.passes(above, torch.hypot(variance.sqrt(), sigma)), above, 0.0)
    best = (charged * sigma.square() + seen * variance) / (sigma.square() + variance)
    scaled = (neutral == 0) & (charged > 0)
    factor = torch.where(scaled, best / charged.clamp_min(1e-300), 1.0)
    return neutral, torch.where(meets, factor.gather(-1, number), 1.0)


def slot(cell: Tensor, count: Tensor, wanted: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Where in the list of an event's cells a wanted one is, and whether it is there.

    Arguments:
        cell, count: Increasing numbers, shape ``(G, E, T)``, the first ``count`` of which exist.
        wanted, mask: Numbers and whether they are asked for, shape ``(G, E, K)``.
    """
    exists = torch.arange(cell.shape[-1]) < count[..., None]
    listed = torch.where(exists, cell, torch.iinfo(torch.int64).max)
    place = torch.searchsorted(listed, wanted).clamp(max=cell.shape[-1] - 1)
    return place, mask & (listed.gather(-1, place) == wanted)


def _massless(part: Section, state: State, energy: Tensor) -> tuple[Tensor, ...]:
    """Energy, momentum and PDG id of neutral objects in the middle of cells."""
    eta, phi = part.cells.centre(state[part.columns[1]])
    px, py, pz = cartesian(energy / torch.cosh(eta), eta, phi)
    pdg_id = PHOTON if part is ECAL else NEUTRAL_HADRON
    return energy, px, py, pz, torch.full_like(energy, pdg_id, dtype=torch.int64)
