"""Reconstruction: from measured muons to the observables of a pair, the same for all data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.events import Events
from hepgen.simulators.dense import dense_objects
from hepgen.simulators.stage import Stage, State

#: What it needs of an event: jagged columns in NanoAOD style, with unit and label.
MUON_COLUMNS = {
    "Muon_pt": ("GeV", r"muon $p_\mathrm{T}$"),
    "Muon_eta": ("", r"muon $\eta$"),
    "Muon_phi": ("", r"muon $\phi$"),
    "Muon_charge": ("", "muon charge"),
}
#: What it adds, with unit and label.
DIMUON_COLUMNS = {
    "Dimuon_mass": ("GeV", r"$m_{\mu\mu}$"),
    "Dimuon_pt": ("GeV", r"$p_\mathrm{T}^{\mu\mu}$"),
    "Dimuon_y": ("", r"$y_{\mu\mu}$"),
    "Dimuon_cos_theta_cs": ("", r"$\cos\theta_\mathrm{CS}$"),
    "Dimuon_phi_star": ("", r"$\phi^*_\eta$"),
    "Dimuon_pt1": ("GeV", r"$p_\mathrm{T}$ of the leading muon"),
    "Dimuon_pt2": ("GeV", r"$p_\mathrm{T}$ of the other muon"),
    "Dimuon_eta_negative": ("", r"$\eta(\mu^-)$"),
    "Dimuon_eta_positive": ("", r"$\eta(\mu^+)$"),
}


@dataclass(frozen=True)
class DimuonReconstruction(Stage):
    """The pair of the hardest μ⁻ and the hardest μ⁺, its observables, and the selection.

    A deterministic stage: the same code reconstructs simulated and real events.

    Arguments:
        pt_min: GeV, for both muons.
        eta_max: |η| of both muons.
        mass: Range of the pair's mass in GeV.
    """

    pt_min: float = 20.0
    eta_max: float = 2.1
    mass: tuple[float, float] = (60.0, 120.0)

    name = "reconstruction"
    requires = ("found", "measured_pt", "measured_charge", "muon_eta", "muon_phi")
    provides = (*MUON_COLUMNS, *DIMUON_COLUMNS, "nMuon", "selected")
    measured = tuple(MUON_COLUMNS)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the observables of every event, and whether it is selected."""
        # Muons come hardest first, those that were not found (pT = 0) last.
        pt, order = state["measured_pt"].sort(dim=-1, descending=True)
        eta, phi, charge = (
            state[c].gather(-1, order) for c in ("muon_eta", "muon_phi", "measured_charge")
        )
        number = state["found"].sum(-1)
        muons = dict(zip(MUON_COLUMNS, (pt, eta, phi, charge), strict=True))
        return state | muons | self.observables(pt, eta, phi, charge) | {"nMuon": number}

    def observables(self, pt: Tensor, eta: Tensor, phi: Tensor, charge: Tensor) -> State:
        """Observables of the pair in each event, and the flag ``selected``.

        Arguments:
            pt, eta, phi, charge: Muons padded with pT = 0, shape ``(*, K)``.

        Returns:
            Columns of shape ``(*,)``; without a pair they are zero.
        """
        good = (pt > self.pt_min) & (eta.abs() < self.eta_max)
        first = hardest(good & (charge < 0), pt, eta, phi)
        second = hardest(good & (charge > 0), pt, eta, phi)
        both = (first[0] > 0) & (second[0] > 0)
        columns = pair_observables(first, second)
        mass = columns["Dimuon_mass"]
        inside = (mass > self.mass[0]) & (mass < self.mass[1])
        columns = {name: torch.where(both, value, 0.0) for name, value in columns.items()}
        return columns | {"selected": both & inside}

    def reconstruct(self, events: Events) -> Events:
        """Events with jagged ``Muon_*`` columns, with the observables and the flag added."""
        padded = dense_objects(events, MUON_COLUMNS, "muons")
        columns = {name: events[name] for name in events.fields}
        new = self.observables(*padded)
        return Events.from_columns(
            columns | {name: value.numpy() for name, value in new.items()}, events.provenance
        )


def hardest(wanted: Tensor, pt: Tensor, eta: Tensor, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(pT, η, φ) of the wanted muon with the largest pT, pT = 0 where there is none."""
    best, index = torch.where(wanted, pt, 0.0).max(dim=-1, keepdim=True)
    return best.squeeze(-1), eta.gather(-1, index).squeeze(-1), phi.gather(-1, index).squeeze(-1)


def pair_observables(
    negative: tuple[Tensor, Tensor, Tensor], positive: tuple[Tensor, Tensor, Tensor]
) -> State:
    r"""Observables of a μ⁻ and a μ⁺, both massless, given as (pT, η, φ).

    .. math:: M^2 = 2 p_{T1} p_{T2} (\cosh\Delta\eta - \cos\Delta\phi), \quad
        \cos\theta_{CS} = \frac{2 p_{T1} p_{T2} \sinh(\eta_1 - \eta_2)}{M\sqrt{M^2 + p_T^2}}
        \,\mathrm{sign}(y), \quad
        \phi^*_\eta = \tan\frac{\pi - |\Delta\phi|}{2} \Big/ \cosh\frac{\eta_1 - \eta_2}{2}

    with 1 the μ⁻: Collins and Soper, Phys. Rev. D 16 (1977) 2219; Banfi et al., Eur. Phys.
    J. C 71 (2011) 1600.
    """
    pt1, eta1, phi1 = negative
    pt2, eta2, phi2 = positive
    difference = eta1 - eta2
    delta = torch.remainder(phi1 - phi2 + math.pi, 2 * math.pi) - math.pi
    product = 2 * pt1 * pt2
    mass2 = product * (torch.cosh(difference) - torch.cos(delta))
    pair_pt2 = pt1.square() + pt2.square() + product * torch.cos(delta)
    mass = mass2.clamp_min(0).sqrt()
    # E + pz = Σ pT e^η and E − pz = Σ pT e^−η for massless muons.
    plus = pt1 * eta1.exp() + pt2 * eta2.exp()
    minus = pt1 * (-eta1).exp() + pt2 * (-eta2).exp()
    y = 0.5 * (plus / minus.clamp_min(1e-12)).clamp_min(1e-12).log()
    transverse_mass = (mass2 + pair_pt2).clamp_min(1e-12).sqrt()
    cosine = product * torch.sinh(difference) / (mass * transverse_mass).clamp_min(1e-12)
    return {
        "Dimuon_mass": mass,
        "Dimuon_pt": pair_pt2.clamp_min(0).sqrt(),
        "Dimuon_y": y,
        "Dimuon_cos_theta_cs": torch.where(y < 0, -cosine, cosine),
        "Dimuon_phi_star": torch.tan(0.5 * (math.pi - delta.abs())) / torch.cosh(difference / 2),
        "Dimuon_pt1": torch.maximum(pt1, pt2),
        "Dimuon_pt2": torch.minimum(pt1, pt2),
        "Dimuon_eta_negative": eta1,
        "Dimuon_eta_positive": eta2,
    }
