"""Missing transverse momentum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hepgen.simulators.coordinates import cartesian
from hepgen.simulators.jet_energy import JETS
from hepgen.simulators.stage import Stage, State

#: What it adds, with unit and label.
MET_COLUMNS = {
    "MET_pt": ("GeV", r"$p_\mathrm{T}^\mathrm{miss}$"),
    "MET_phi": ("", r"$\phi^\mathrm{miss}$"),
}


class MissingMomentum(Stage):
    r"""−Σ pT of the particle-flow objects: ``MET_pt`` (GeV) and ``MET_phi``. Deterministic.

    Arguments:
        corrected: Also what the energy of jets was changed by, −Σ (measured − clustered), so
            that scale and resolution of jets reach it ("type 1").
    """

    name = "missing_momentum"
    provides = tuple(MET_COLUMNS)

    def __init__(self, corrected: bool = False) -> None:
        self.corrected = corrected
        self.requires = ("Flow_px", "Flow_py", *(JETS if corrected else ()))

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add up every event."""
        x, y = -state["Flow_px"].sum(-1), -state["Flow_py"].sum(-1)
        if self.corrected:
            px, py, _ = cartesian(state["Jet_pt"], state["Jet_eta"], state["Jet_phi"])
            x = x - (px * state["Jet_rawFactor"]).sum(-1)
            y = y - (py * state["Jet_rawFactor"]).sum(-1)
        return state | {"MET_pt": torch.hypot(x, y), "MET_phi": torch.atan2(y, x)}
