"""Identification: isolated muons, electrons and photons."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.coordinates import cylindrical
from hepgen.simulators.detector import MUON_EFFICIENCY
from hepgen.simulators.detectors.isolation import isolation
from hepgen.simulators.detectors.particle_flow import FLOW
from hepgen.simulators.detectors.species import ELECTRON, MUON, PHOTON, charge
from hepgen.simulators.distributions import Chance, Padded
from hepgen.simulators.jagged import hardest_first, packed
from hepgen.simulators.stage import Stage, State

#: Columns of the collections, after the prefix.
CHARGED = ("pt", "eta", "phi", "charge", "iso")
NEUTRAL = ("pt", "eta", "phi", "iso")
#: What is an observable, with unit and label.
ISOLATED_COLUMNS = {
    f"{prefix}_{column}": description
    for prefix, symbol in (("Muon", r"\mu"), ("Electron", "e"), ("Photon", r"\gamma"))
    for column, description in {
        "pt": ("GeV", rf"${symbol}\ p_\mathrm{{T}}$"),
        "eta": ("", rf"${symbol}\ \eta$"),
        "phi": ("", rf"${symbol}\ \phi$"),
        "charge": ("", rf"${symbol}$ charge"),
        "iso": ("", rf"${symbol}$ isolation"),
    }.items()
    if (prefix, column) != ("Photon", "charge")
}


def identification(pdg_id: int, pt: Tensor, eta: Tensor) -> Tensor:
    r"""The probability to identify a measured track or cluster; pT in GeV, shapes broadcast.

    Above pT = 10 GeV: e, γ 0.95 for \|η\| ≤ 1.5 and 0.85 up to 2.5; μ 0.95 up to 2.4.

    >>> identification(11, torch.tensor([9.0, 20.0]), torch.tensor([0.0, 2.0]))
    tensor([0.0000, 0.8500])
    """
    reach, endcap = (2.4, 0.95) if pdg_id == MUON else (2.5, 0.85)
    inside = (pt > 10) & (eta.abs() <= reach)
    value = torch.full_like(pt, 0.95).masked_fill(eta.abs() > 1.5, endcap)
    return torch.where(inside, value, 0.0)


class Identification(Stage):
    r"""Muons, electrons and photons among the particle-flow objects, as in the Delphes CMS card.

    A candidate is identified with the probability of :func:`identification` at its measured pT
    and η, for muons times ``muon_efficiency``. It is kept if it is isolated: Σ pT of photons,
    charged and neutral hadrons above 0.5 GeV within ΔR < 0.5, relative to its pT, is below
    ``ratio``. Which particle made a track is taken from the truth: there are no fakes, but a
    photon may be any excess in the ECAL. Hardest first.

    Sites: ``muon_identified``, ``electron_identified``, ``photon_identified``, of those in the
    acceptance.

    Arguments:
        ratio: The largest relative isolation of electrons and photons.
        muon_ratio: That of muons.
        cone: ΔR.
    """

    name = "identification"
    parameters = (MUON_EFFICIENCY,)
    requires = FLOW
    provides = (
        *(f"Muon_{c}" for c in CHARGED), "nMuon", *(f"Electron_{c}" for c in CHARGED), "nElectron",
        *(f"Photon_{c}" for c in NEUTRAL), "nPhoton",
    )  # fmt: skip

    def __init__(self, ratio: float = 0.12, muon_ratio: float = 0.25, cone: float = 0.5) -> None:
        for name, value in {"ratio": ratio, "muon_ratio": muon_ratio, "cone": cone}.items():
            if not value > 0:
                raise WorkflowError(f"identification: {name} = {value}; expected a number above 0")
        self.ratio, self.muon_ratio, self.cone = ratio, muon_ratio, cone

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw which candidates are identified."""
        one = torch.ones((), dtype=torch.float64)
        muons = self._collection(state, "muon", MUON, parameters["muon_efficiency"])
        electrons = self._collection(state, "electron", ELECTRON, one)
        photons = self._collection(state, "photon", PHOTON, one)
        return state | muons | electrons | photons

    def _collection(self, state: State, name: str, pdg_id: int, factor: Tensor) -> State:
        flow = cylindrical(state["Flow_px"], state["Flow_py"], state["Flow_pz"])
        candidates, probability = _candidates(state["Flow_id"], flow, pdg_id)
        likely = (probability * factor[..., None]).clamp(max=1.0)
        exists = probability > 0
        chosen = Padded(Chance(likely[exists], validate_args=False), exists)
        found = pyro.sample(f"{name}_identified", chosen)[..., : exists.shape[-1]] > 0.5
        pt, eta, phi, number, sign = candidates
        counted = torch.where(_leptons(state["Flow_id"]), 0.0, flow[0])
        around = isolation((pt, eta, phi, number), (counted, *flow[1:]), self.cone)
        kept = found & (around < (self.muon_ratio if pdg_id == MUON else self.ratio))
        *columns, count = packed(kept, pt, eta, phi, sign, around)
        columns = list(hardest_first(*columns))
        prefix = name.capitalize()
        values = {f"{prefix}_{c}": v for c, v in zip(CHARGED, columns, strict=True)}
        if pdg_id == PHOTON:
            del values[f"{prefix}_charge"]
        return values | {f"n{prefix}": count}


def _leptons(pdg_id: Tensor) -> Tensor:
    return (pdg_id.abs() == ELECTRON) | (pdg_id.abs() == MUON)


def _candidates(
    flow_id: Tensor, flow: tuple[Tensor, Tensor, Tensor], pdg_id: int
) -> tuple[list[Tensor], Tensor]:
    """pT, η, φ, number and charge of those that could be identified, and how probably."""
    probability = torch.where(flow_id.abs() == pdg_id, identification(pdg_id, *flow[:2]), 0.0)
    number = torch.arange(flow_id.shape[-1]).expand(flow_id.shape)
    *columns, probability, _ = packed(probability > 0, *flow, number, charge(flow_id), probability)
    return columns, probability
