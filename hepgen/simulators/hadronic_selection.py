"""Selection of hadronic events in e⁺e⁻ annihilation."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.simulators.stage import Stage, State

#: What it adds, with unit and label.
SELECTION_COLUMNS = {"Visible_energy": ("GeV", r"$E_\mathrm{vis}$")}
#: The largest |Σ E − √s|/√s of particles that have the energy of their event.
BALANCE = 1e-5


class HadronicSelection(Stage):
    r"""``selected``: many tracks, much energy and several jets, as at LEP.

    .. math:: n_\mathrm{track} \ge n_\min, \quad E_\mathrm{vis} > f\sqrt s, \quad
        n_\mathrm{jet} \ge 2

    with ``Visible_energy`` (GeV) the sum over the particle-flow objects. Leptonic and two-photon
    events, which are not simulated, are what such cuts are against (ALEPH, Eur. Phys. J. C 35
    (2004) 457). Deterministic.

    Arguments:
        sqrt_s: GeV.
        visible_min: f.
        tracks_min: Smallest number of tracks.
        jets_min: Smallest number of jets.
        balanced: An event is also refused where the particles do not have the energy √s: where
            hadronisation failed.
    """

    name = "hadronic_selection"
    provides = (*SELECTION_COLUMNS, "selected")

    def __init__(
        self,
        sqrt_s: float,
        visible_min: float = 0.5,
        tracks_min: int = 5,
        jets_min: int = 2,
        balanced: bool = False,
    ) -> None:
        if min(visible_min, tracks_min, jets_min) < 0 or not sqrt_s > 0:
            raise WorkflowError(
                f"selection: √s {sqrt_s} GeV, visible_min {visible_min}, tracks_min {tracks_min}, "
                f"jets_min {jets_min}; expected an energy above 0, and the others not below"
            )
        self.sqrt_s, self.visible_min = sqrt_s, visible_min
        self.tracks_min, self.jets_min = tracks_min, jets_min
        self.balanced = balanced
        self.requires = ("Flow_e", "nTrack", "nJet", *(("Particle_e",) if balanced else ()))

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:  # noqa: ARG002
        """Add the visible energy of every event, and whether it is selected."""
        energy = state["Flow_e"].sum(-1)
        selected = (
            (energy > self.visible_min * self.sqrt_s)
            & (state["nTrack"] >= self.tracks_min)
            & (state["nJet"] >= self.jets_min)
        )
        if self.balanced:
            missing = (state["Particle_e"].sum(-1) - self.sqrt_s).abs()
            selected = selected & (missing < BALANCE * self.sqrt_s)
        return state | {"Visible_energy": energy, "selected": selected}
