"""Tracker: which charged particles are found, and how well their momentum is measured."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from hepgen.simulators.coordinates import cylindrical, momenta
from hepgen.simulators.detector import MUON_RESOLUTION, MUON_SCALE
from hepgen.simulators.detectors.nuisances import TRACK_EFFICIENCY, TRACK_RESOLUTION
from hepgen.simulators.detectors.species import ELECTRON, MUON, charge
from hepgen.simulators.distributions import Chance, Padded, RelativeLogNormal
from hepgen.simulators.jagged import packed
from hepgen.simulators.stage import Stage, State

PARTICLES = ("Particle_px", "Particle_py", "Particle_pz", "Particle_e", "Particle_id", "nParticle")
TRACKS = ("Track_pt", "Track_eta", "Track_phi", "Track_charge", "Track_mass", "Track_id", "nTrack")

#: Rows: hadron, electron, muon.
#: Efficiency for |η| ≤ 1.5 and ≤ 2.5, with 0.1 < pT ≤ 1, 1 < pT ≤ 100, pT > 100 GeV.
EFFICIENCY = torch.tensor(
    [
        [[0.70, 0.95, 0.95], [0.60, 0.85, 0.85]],
        [[0.73, 0.95, 0.99], [0.50, 0.83, 0.90]],
        [[0.75, 0.99, 0.99], [0.70, 0.98, 0.98]],
    ],
    dtype=torch.float64,
)
#: a and b [1/GeV] of σ(pT)/pT for |η| ≤ 0.5, ≤ 1.5, ≤ 2.5.
CONSTANT = torch.tensor(
    [[0.06, 0.10, 0.25], [0.03, 0.05, 0.15], [0.010, 0.015, 0.025]], dtype=torch.float64
)
SLOPE = torch.tensor(
    [[1.3e-3, 1.7e-3, 3.1e-3], [1.3e-3, 1.7e-3, 3.1e-3], [1.0e-4, 1.5e-4, 3.5e-4]],
    dtype=torch.float64,
)


class Tracker(Stage):
    r"""Tracks of charged particles as in the Delphes CMS card (``delphes_card_CMS.tcl``).

    A charged particle is found with the probability of :func:`efficiency`, times
    ``track_efficiency`` for hadrons and electrons. The transverse momentum of a track is
    log-normal (``MomentumSmearing.cc``) with relative width :func:`relative_resolution`, times
    ``track_resolution`` for hadrons and electrons, ``muon_resolution`` for muons. Its mean is
    the true pT, times 1 + ``muon_scale`` for muons. Directions are exact, and particles fly
    straight: there is no bending in the field, so none curls up below pT = 0.7 GeV and a track
    points at the cell of its particle.

    Sites: ``track_found``, of those in the acceptance, and ``track_pt`` (GeV), of those found.
    """

    name = "tracker"
    parameters = (TRACK_EFFICIENCY, TRACK_RESOLUTION, MUON_SCALE, MUON_RESOLUTION)
    requires = PARTICLES
    provides = TRACKS

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the tracks of every event."""
        px, py, pz, e = momenta(state, "Particle")
        (pt, eta, phi), pdg_id = cylindrical(px, py, pz), state["Particle_id"]
        of = {name: value[..., None] for name, value in parameters.items()}
        muon = pdg_id.abs() == MUON
        found = _found(efficiency(pdg_id, pt, eta), torch.where(muon, 1.0, of["track_efficiency"]))
        mean = pt * torch.where(muon, 1 + of["muon_scale"], 1.0)
        factor = torch.where(muon, of["muon_resolution"], of["track_resolution"])
        width = factor * relative_resolution(pdg_id, pt, eta)
        smearing = Padded(RelativeLogNormal(mean[found], width[found]), found)
        measured = pyro.sample("track_pt", smearing)[..., : pt.shape[-1]]
        mass = (e.square() - px.square() - py.square() - pz.square()).clamp_min(0).sqrt()
        columns = packed(found, measured, eta, phi, charge(pdg_id), mass, pdg_id)
        return state | dict(zip(TRACKS, columns, strict=True))


def _found(probability: Tensor, factor: Tensor) -> Tensor:
    """Which of the particles that can be found are; shape ``(G, E, K)``."""
    possible = probability > 0
    scaled = (probability * factor).clamp(max=1.0)[possible]
    chosen = Padded(Chance(scaled, validate_args=False), possible)
    drawn: Tensor = pyro.sample("track_found", chosen)
    return drawn[..., : possible.shape[-1]] > 0.5


def _species(pdg_id: Tensor) -> Tensor:
    """0: hadron, 1: electron, 2: muon."""
    return (pdg_id.abs() == ELECTRON).long() + 2 * (pdg_id.abs() == MUON).long()


def efficiency(pdg_id: Tensor, pt: Tensor, eta: Tensor) -> Tensor:
    """The probability to find the track of a particle, 0 for neutral ones; shapes broadcast.

    That of muons falls as exp(0.5 − 5·10⁻⁴ pT) above pT = 1 TeV.

    Arguments:
        pdg_id: PDG id.
        pt, eta: GeV; −.

    >>> pion = torch.tensor(211)
    >>> efficiency(pion, torch.tensor([0.5, 5.0]), torch.tensor([0.0, 2.0]))
    tensor([0.7000, 0.8500], dtype=torch.float64)
    """
    momentum = (pt > 1).long() + (pt > 100).long()
    value = EFFICIENCY[_species(pdg_id), (eta.abs() > 1.5).long(), momentum]
    falling = (pdg_id.abs() == MUON) & (pt > 1000)
    value = torch.where(falling, value * torch.exp(0.5 - 5e-4 * pt.clamp(min=1000)), value)
    inside = (pt > 0.1) & (eta.abs() <= 2.5) & (charge(pdg_id) != 0)
    return torch.where(inside, value, 0.0)


def relative_resolution(pdg_id: Tensor, pt: Tensor, eta: Tensor) -> Tensor:
    """σ(pT)/pT = √(a² + b²pT²) of a track, at most 1; pT in GeV, shapes broadcast.

    >>> relative_resolution(torch.tensor(13), torch.tensor([10.0]), torch.tensor([0.0]))
    tensor([0.0100], dtype=torch.float64)
    """
    region = (eta.abs() > 0.5).long() + (eta.abs() > 1.5).long()
    species = _species(pdg_id)
    return torch.hypot(CONSTANT[species, region], SLOPE[species, region] * pt).clamp(max=1.0)
