"""Reconstruction: from jets to the observables of the hardest two, the same for all data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.events import Events
from hepgen.simulators.dense import dense_objects
from hepgen.simulators.stage import Stage, State

#: What it needs of an event: jagged columns in NanoAOD style, with unit and label.
JET_COLUMNS = {
    "Jet_pt": ("GeV", r"jet $p_\mathrm{T}$"),
    "Jet_eta": ("", r"jet $\eta$"),
    "Jet_phi": ("", r"jet $\phi$"),
}
#: What it adds, with unit and label.
DIJET_COLUMNS = {
    "Dijet_mass": ("GeV", "$m_{jj}$"),
    "Dijet_delta_y": ("", r"$|\Delta y|$ of the jets"),
    "Dijet_chi": ("", r"$\chi = e^{|\Delta y|}$"),
    "Dijet_y_boost": ("", r"$y_\mathrm{boost} = (y_1 + y_2)/2$"),
    "Dijet_pt1": ("GeV", r"$p_\mathrm{T}$ of the leading jet"),
    "Dijet_pt2": ("GeV", r"$p_\mathrm{T}$ of the other jet"),
}


@dataclass(frozen=True)
class DijetReconstruction(Stage):
    r"""The hardest two jets, their observables, and the selection.

    .. math:: m^2 = 2 p_{T1} p_{T2} (\cosh\Delta\eta - \cos\Delta\phi), \quad
              \chi = e^{|\Delta y|}, \quad y_\mathrm{boost} = \tfrac12 (y_1 + y_2)

    for massless jets, whose rapidity is η. Of two partons back to back \|Δy\| = 2 artanh\|cos θ*\|.
    A deterministic stage: the same code reconstructs simulated and real events.

    Arguments:
        pt_min: GeV, of both jets.
        eta_max: |η| of both jets.
        delta_y_max: \|Δy\| of the two.
        mass: Range of the pair's mass in GeV.
    """

    pt_min: float = 60.0
    eta_max: float = 2.5
    delta_y_max: float = 1.3
    mass: tuple[float, float] = (1200.0, 4500.0)

    name = "reconstruction"
    requires = ("measured_pt", "jet_eta", "jet_phi")
    provides = (*JET_COLUMNS, *DIJET_COLUMNS, "nJet", "selected")
    measured = tuple(JET_COLUMNS)

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the jets that are kept, the observables, and whether an event is selected."""
        jets = self.kept(state["measured_pt"], state["jet_eta"], state["jet_phi"])
        number = (jets[0] > 0).sum(-1)
        columns = dict(zip(JET_COLUMNS, jets, strict=True))
        return state | columns | self.observables(*jets) | {"nJet": number}

    def kept(self, pt: Tensor, eta: Tensor, phi: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The jets inside pT and η, hardest first, then zeros; shape ``(*, K)`` as given."""
        good = (pt > self.pt_min) & (eta.abs() < self.eta_max)
        pt, order = torch.where(good, pt, 0.0).sort(dim=-1, descending=True)
        eta, phi = (torch.where(pt > 0, v.gather(-1, order), 0.0) for v in (eta, phi))
        return pt, eta, phi

    def observables(self, pt: Tensor, eta: Tensor, phi: Tensor) -> State:
        """Observables of the pair in each event, and the flag ``selected``.

        Arguments:
            pt, eta, phi: Jets padded with pT = 0, hardest first, shape ``(*, K)``, K ≥ 2.

        Returns:
            Columns of shape ``(*,)``; without a pair they are zero.
        """
        both = pt[..., 1] > 0
        columns = pair_observables(pt, eta, phi)
        mass, apart = columns["Dijet_mass"], columns["Dijet_delta_y"]
        inside = (mass > self.mass[0]) & (mass < self.mass[1]) & (apart < self.delta_y_max)
        columns = {name: torch.where(both, value, 0.0) for name, value in columns.items()}
        return columns | {"selected": both & inside}

    def reconstruct(self, events: Events) -> Events:
        """Events with jagged ``Jet_*`` columns, with the observables and the flag added."""
        padded = dense_objects(events, JET_COLUMNS, "jets")
        new = self.observables(*self.kept(*padded))
        columns = {name: events[name] for name in events.fields}
        return Events.from_columns(
            columns | {name: value.numpy() for name, value in new.items()}, events.provenance
        )


def pair_observables(pt: Tensor, eta: Tensor, phi: Tensor) -> State:
    """Observables of the first two of K jets, massless; shapes ``(*, K)`` to ``(*,)``."""
    apart = (eta[..., 0] - eta[..., 1]).abs()
    cosine = torch.cos(phi[..., 0] - phi[..., 1])
    mass2 = 2 * pt[..., 0] * pt[..., 1] * (torch.cosh(apart) - cosine)
    return {
        "Dijet_mass": mass2.clamp_min(0).sqrt(),
        "Dijet_delta_y": apart,
        "Dijet_chi": apart.exp(),
        "Dijet_y_boost": 0.5 * (eta[..., 0] + eta[..., 1]),
        "Dijet_pt1": pt[..., 0],
        "Dijet_pt2": pt[..., 1],
    }
