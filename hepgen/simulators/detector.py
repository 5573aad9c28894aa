"""Detector: which muons are found, and how well their momentum is measured."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.distributions import Chance, Padded, RelativeLogNormal
from hepgen.simulators.stage import Stage, State

MUON_SCALE = Parameter("muon_scale", 0.0, label=r"$\delta_\mathrm{scale}$", low=-0.2, high=0.2)
MUON_RESOLUTION = Parameter(
    "muon_resolution", 1.0, label=r"$r_\mathrm{resolution}$", low=0.05, high=20.0
)
MUON_EFFICIENCY = Parameter(
    "muon_efficiency", 1.0, label=r"$r_\mathrm{efficiency}$", low=0.0, high=1.05
)


class MuonDetector(Stage):
    r"""Muons as in the Delphes CMS card (``delphes_card_CMS.tcl``).

    The efficiency is tracking × identification:
    0.75 (pT ≤ 1 GeV) or 0.99 for \|η\| < 1.5, 0.70 or 0.98 up to 2.4, times 0.95 above
    pT = 10 GeV and 0 below; above 1 TeV the tracking falls as exp(0.5 − 5·10⁻⁴ pT).
    The transverse momentum is log-normal with mean pT·(1 + ``muon_scale``) and relative
    width ``muon_resolution``·√(a² + b²pT²), a = 0.010, 0.015, 0.025 and b = 1, 1.5,
    3.5·10⁻⁴/GeV for \|η\| < 0.5, 1.5, 2.4. Directions are exact. A charge is taken for the
    other with probability ``charge_flip``.

    Sites: ``muon_found``, and for those found ``muon_measured_pt`` (GeV) and
    ``muon_charge_flip``.
    """

    name = "detector"
    parameters = (MUON_SCALE, MUON_RESOLUTION, MUON_EFFICIENCY)
    requires = ("muon_pt", "muon_eta", "muon_phi")
    provides = ("found", "measured_pt", "measured_charge")

    def __init__(self, charge_flip: float = 1e-4) -> None:
        if not 0 <= charge_flip <= 1:
            raise WorkflowError(f"charge_flip = {charge_flip}: expected a probability, 0 to 1")
        self.charge_flip = charge_flip

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw what is measured of each muon; slot 0 is the μ⁻, slot 1 the μ⁺."""
        pt, eta = state["muon_pt"], state["muon_eta"].abs()
        probability = efficiency(pt, eta) * parameters["muon_efficiency"][..., None]
        found_as = Chance(probability.clamp(max=1.0), validate_args=False).to_event(1)
        found = pyro.sample("muon_found", found_as) > 0.5
        width = parameters["muon_resolution"][..., None] * relative_resolution(pt, eta)
        mean = pt * (1 + parameters["muon_scale"][..., None])
        smearing = RelativeLogNormal(mean[found], width[found])
        measured = pyro.sample("muon_measured_pt", Padded(smearing, found))
        wrong = torch.full((int(found.sum()),), self.charge_flip, dtype=pt.dtype)
        flip = Padded(Chance(wrong, validate_args=False), found)
        sign = 1 - 2 * pyro.sample("muon_charge_flip", flip)
        charge = torch.tensor([-1.0, 1.0], dtype=pt.dtype) * sign
        return state | {"found": found, "measured_pt": measured, "measured_charge": charge}


def efficiency(pt: Tensor, abs_eta: Tensor) -> Tensor:
    """The probability to find a muon of pT [GeV] and |η|."""
    barrel = abs_eta < 1.5
    high = 0.98 + 0.01 * barrel.to(pt.dtype)
    high = torch.where(pt > 1000, high * torch.exp(0.5 - 5e-4 * pt.clamp(min=1000)), high)
    return torch.where((abs_eta < 2.4) & (pt > 10), 0.95 * high, 0.0)


def relative_resolution(pt: Tensor, abs_eta: Tensor) -> Tensor:
    """σ(pT)/pT of a muon of pT [GeV] and |η|."""
    region = (abs_eta > 0.5).long() + (abs_eta > 1.5).long()
    constant = torch.tensor([0.010, 0.015, 0.025], dtype=pt.dtype)[region]
    slope = torch.tensor([1.0e-4, 1.5e-4, 3.5e-4], dtype=pt.dtype)[region]
    return torch.hypot(constant, slope * pt)
