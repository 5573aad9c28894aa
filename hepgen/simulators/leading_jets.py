"""The leading jets of an event as a fixed number of columns: what a density of one event takes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.jet_energy import JET_COLUMNS
from hepgen.simulators.stage import Stage, State

#: What it adds, with unit and label.
LEADING_COLUMNS = {
    "Jet1_pt": ("GeV", r"$p_\mathrm{T,1}$"),
    "Jet1_eta": ("", r"$\eta_1$"),
    "Jet1_phi": ("", r"$\phi_1$"),
    "Jet1_mass": ("GeV", r"$m_1$"),
    "Jet2_fraction": ("", r"$f_2$"),
    "Jet2_eta": ("", r"$\eta_2$"),
    "Jet2_dphi": ("", r"$\phi_2 - \phi_1$"),
    "Jet2_mass": ("GeV", r"$m_2$"),
    "Jet3_fraction": ("", r"$f_3$"),
    "Rest_parallel": ("GeV", r"$p_\parallel^\mathrm{rest}$"),
    "Rest_perpendicular": ("GeV", r"$p_\perp^\mathrm{rest}$"),
    "Jets_number": ("", r"$n_\mathrm{jet}$"),
    "Jets_tagged": ("", r"$n_\mathrm{b\ tag}$"),
}
MASSLESS = 1e-3
"""GeV: a smaller mass is the rounding of a jet of one massless object."""


NOTHING = 1e-6
"""GeV: less momentum beside the jets is the rounding of none."""


class LeadingJets(Stage):
    r"""The three hardest jets as columns of shape ``(G, E)``. Deterministic.

    .. math:: f_{i+1} = \frac{p_\mathrm{T,i+1} - p_\mathrm{T}^\min}{p_\mathrm{T,i} -
        p_\mathrm{T}^\min} \in [0, 1]

    with 0 where there is no such jet: a fraction has the threshold and the order of the jets as
    its bounds. The azimuth of the second jet is relative to the first, in [0, 2π). A jet of one
    massless object has mass 0.

    The missing momentum follows from what balances it: the transverse momentum of all that is not
    in the two leading jets, along the first jet and at right angles to it,

    .. math:: \vec p^\mathrm{\,rest} = -\vec p^\mathrm{\,miss} - \vec p_1 - \vec p_2 ,

    which is small where the missing momentum itself is almost fixed by the jets, and exactly zero
    where there is nothing beside the two.

    Arguments:
        pt_min: p_T^min in GeV, the threshold of the jets.
    """

    name = "leading_jets"
    requires = (*JET_COLUMNS, "Jet_btag", "nJet", "MET_pt", "MET_phi")
    provides = tuple(LEADING_COLUMNS)

    def __init__(self, pt_min: float = 5.0) -> None:
        if not pt_min >= 0:
            raise WorkflowError(f"leading jets: pt_min = {pt_min}; expected at least 0 GeV")
        self.pt_min = pt_min

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the columns of every event."""
        pt, eta, phi, mass = (_slots(state[name], 3) for name in JET_COLUMNS)
        mass = torch.where(mass < MASSLESS, 0.0, mass)
        above = (pt - self.pt_min).clamp_min(0)
        fraction = above[..., 1:] / above[..., :-1].clamp_min(1e-300)
        exists = torch.arange(state["Jet_pt"].shape[-1]) < state["nJet"][..., None]
        between, turned = phi[..., 1] - phi[..., 0], state["MET_phi"] - phi[..., 0]
        met = state["MET_pt"]
        columns = (
            pt[..., 0], eta[..., 0], phi[..., 0], mass[..., 0],
            fraction[..., 0], eta[..., 1],
            torch.remainder(between, math.tau), mass[..., 1],
            fraction[..., 1],
            *_rest(-met * turned.cos() - pt[..., 0] - pt[..., 1] * between.cos(),
                   -met * turned.sin() - pt[..., 1] * between.sin()),
            state["nJet"], (state["Jet_btag"] * exists).sum(-1).long(),
        )  # fmt: skip
        return state | dict(zip(LEADING_COLUMNS, columns, strict=True))


def _rest(parallel: Tensor, perpendicular: Tensor) -> tuple[Tensor, Tensor]:
    """Both exactly zero where the two jets have all that there is."""
    nothing = torch.hypot(parallel, perpendicular) < NOTHING
    return parallel.masked_fill(nothing, 0.0), perpendicular.masked_fill(nothing, 0.0)


def _slots(column: Tensor, n: int) -> Tensor:
    """The first ``n`` entries of a padded column, zero beyond its end."""
    return torch.nn.functional.pad(column, (0, max(0, n - column.shape[-1])))[..., :n]
