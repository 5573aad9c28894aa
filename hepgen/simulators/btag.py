"""Flavour of jets, and b tags."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.coordinates import cylindrical, delta_r
from hepgen.simulators.detectors.nuisances import BTAG_EFFICIENCY, MISTAG_RATE
from hepgen.simulators.distributions import Chance, Padded
from hepgen.simulators.jet_energy import JETS
from hepgen.simulators.stage import Stage, State

#: What is an observable, with unit and label.
BTAG_COLUMNS = {"Jet_btag": ("", "jet b tag")}
TRUTH = {
    "parton": ("Parton_px", "Parton_py", "Parton_pz", "Parton_id"),
    "hard": ("hard_flavour",),
}


class BTagging(Stage):
    r"""b tags as in the Delphes CMS card, by the true flavour of the jet.

    The probability is that of :func:`tag_probability`, times ``btag_efficiency`` for b and c
    jets (their calibrations go together) and times ``mistag_rate`` for the others.

    ``Jet_flavour`` (int64) is 5, 4 or 0. With ``truth="parton"`` it is the heaviest of the
    partons with pT > 1 GeV and \|η\| < 2.5 within ΔR < ``cone`` of the jet
    (``JetFlavorAssociation`` of the card); with ``"hard"``, for e⁺e⁻ → q q̄, the two jets with
    the largest energy have the flavour ``hard_flavour`` of the event, and the others none.

    Site: ``jet_btag``.

    Arguments:
        truth: ``parton`` or ``hard``.
        cone: ΔR.
    """

    name = "btag"
    parameters = (BTAG_EFFICIENCY, MISTAG_RATE)
    provides = ("Jet_flavour", "Jet_btag")

    def __init__(self, truth: str = "parton", cone: float = 0.5) -> None:
        if truth not in TRUTH:
            raise WorkflowError(f"b tags: truth = {truth!r}; expected 'parton' or 'hard'")
        if not cone > 0:
            raise WorkflowError(f"b tags: cone = {cone}; expected a ΔR above 0")
        self.truth, self.cone = truth, cone
        self.requires = (*JETS, *TRUTH[truth])

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw which jets are tagged."""
        pt = state["Jet_pt"]
        exists = torch.arange(pt.shape[-1]) < state["nJet"][..., None]
        flavour = heaviest_parton(state, self.cone) if self.truth == "parton" else leading(state)
        flavour = torch.where(exists, flavour, 0)
        heavy, light = (parameters[n][..., None] for n in ("btag_efficiency", "mistag_rate"))
        factor = torch.where(flavour > 0, heavy, light)
        likely = (tag_probability(flavour, pt) * factor).clamp(max=1.0)[exists]
        tagged = Padded(Chance(likely, validate_args=False), exists)
        tag = pyro.sample("jet_btag", tagged)[..., : pt.shape[-1]]
        return state | {"Jet_flavour": flavour, "Jet_btag": tag}


def tag_probability(flavour: Tensor, pt: Tensor) -> Tensor:
    """The probability of a b tag; flavour 5, 4 or another, pT in GeV.

    b: 0.85 tanh(0.0025 pT)·25/(1 + 0.063 pT); c: 0.25 tanh(0.018 pT)/(1 + 0.0013 pT);
    others: 0.01 + 3.8·10⁻⁵ pT (arXiv:1211.4462, as in the card).

    >>> tag_probability(torch.tensor([5, 4, 0]), torch.tensor([100.0])).round(decimals=2)
    tensor([0.7100, 0.2100, 0.0100])
    """
    bottom = 0.85 * torch.tanh(0.0025 * pt) * 25 / (1 + 0.063 * pt)
    charm = 0.25 * torch.tanh(0.018 * pt) / (1 + 0.0013 * pt)
    light = 0.01 + 3.8e-5 * pt
    return torch.where(flavour == 5, bottom, torch.where(flavour == 4, charm, light))


def heaviest_parton(state: State, cone: float) -> Tensor:
    """5, 4 or 0 for each jet, shape ``(G, E, J)``."""
    pt, eta, phi = cylindrical(*(state[f"Parton_{c}"] for c in ("px", "py", "pz")))
    quark = state["Parton_id"].abs()
    heavy = (quark == 4) | (quark == 5)
    flavour = torch.where(heavy & (pt > 1) & (eta.abs() < 2.5), quark, 0)
    jet_eta, jet_phi = state["Jet_eta"][..., None], state["Jet_phi"][..., None]
    near = delta_r(jet_eta, jet_phi, eta[..., None, :], phi[..., None, :]) < cone
    return torch.where(near, flavour[..., None, :], 0).amax(-1)


def leading(state: State) -> Tensor:
    """The flavour of the event for the two jets of largest energy, shape ``(G, E, J)``."""
    momentum = state["Jet_pt"] * torch.cosh(state["Jet_eta"])
    energy = torch.hypot(momentum, state["Jet_mass"])
    rank = energy.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    hard = state["hard_flavour"].abs()
    flavour = torch.where((hard == 4) | (hard == 5), hard, 0)
    return torch.where(rank < 2, flavour[..., None], 0)
