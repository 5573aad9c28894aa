"""The energy of jets: correction, scale and resolution."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.coordinates import cylindrical, momenta
from hepgen.simulators.detectors.nuisances import JET_ENERGY_RESOLUTION, JET_ENERGY_SCALE
from hepgen.simulators.distributions import Padded, RelativeLogNormal
from hepgen.simulators.jagged import hardest_first, packed
from hepgen.simulators.jets import RAW_JETS
from hepgen.simulators.stage import Stage, State

#: What of the jets is an observable, with unit and label.
JET_COLUMNS = {
    "Jet_pt": ("GeV", r"jet $p_\mathrm{T}$"),
    "Jet_eta": ("", r"jet $\eta$"),
    "Jet_phi": ("", r"jet $\phi$"),
    "Jet_mass": ("GeV", "jet mass"),
}
JETS = (*JET_COLUMNS, "Jet_rawFactor", "nJet")


def correction(pt: Tensor, eta: Tensor) -> Tensor:
    r"""√((2.5 − 0.15\|η\|)²/pT + 1), the ``JetEnergyScale`` of the Delphes CMS card; pT in GeV.

    >>> correction(torch.tensor([6.25]), torch.tensor([0.0]))
    tensor([1.4142])
    """
    return ((2.5 - 0.15 * eta.abs()).square() / pt.clamp_min(1e-9) + 1).sqrt()


class JetEnergy(Stage):
    r"""The measured momentum of jets: one log-normal draw for each clustered jet.

    Its mean is the clustered pT times the correction of the card times
    1 + ``jet_energy_scale``, its relative width is ``jet_energy_resolution``: a residual on top
    of what tracks and cells already smear. Both are relative numbers, and have a score because
    the scale is applied at a random site, not to finished jets. Mass and energy scale with pT,
    the direction is that of the clustered jet.

    ``Jet_rawFactor`` is 1 − clustered/measured pT, as in NanoAOD. Hardest first.

    Site: ``jet_pt`` (GeV), of the clustered jets.

    Arguments:
        corrected: With the card's correction; without it the mean is the clustered pT.
        pt_min: GeV, of the measured jets.
    """

    name = "jet_energy"
    parameters = (JET_ENERGY_SCALE, JET_ENERGY_RESOLUTION)
    requires = RAW_JETS
    provides = JETS

    def __init__(self, corrected: bool = True, pt_min: float = 0.0) -> None:
        if not pt_min >= 0:
            raise WorkflowError(f"jet energy: pt_min = {pt_min}; expected at least 0 GeV")
        self.corrected, self.pt_min = corrected, pt_min

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the momentum of every jet."""
        px, py, pz, e = momenta(state, "RawJet")
        raw, eta, phi = cylindrical(px, py, pz)
        exists = torch.arange(raw.shape[-1]) < state["nRawJet"][..., None]
        mean = raw * correction(raw, eta) if self.corrected else raw
        mean = mean * (1 + parameters["jet_energy_scale"][..., None])
        width = parameters["jet_energy_resolution"][..., None].expand(mean.shape)
        smearing = Padded(RelativeLogNormal(mean[exists], width[exists]), exists)
        pt = pyro.sample("jet_pt", smearing)[..., : raw.shape[-1]]
        factor = pt / raw.clamp_min(1e-300)
        mass = (e.square() - px.square() - py.square() - pz.square()).clamp_min(0).sqrt() * factor
        raw_factor = 1 - 1 / factor.clamp_min(1e-300)
        *columns, count = packed(exists & (pt > self.pt_min), pt, eta, phi, mass, raw_factor)
        return state | dict(zip(JETS, (*hardest_first(*columns), count), strict=True))
