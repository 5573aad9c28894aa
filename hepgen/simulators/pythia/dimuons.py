"""Muon pairs from Pythia 8: p p → γ*/Z → μ⁺μ⁻ with its own parton densities and radiation.

It shares no code with the built-in stages, so it is what they are compared with. It stands
where :class:`~hepgen.simulators.parton.DrellYan`,
:class:`~hepgen.simulators.shower.InitialStateRecoil` and
:class:`~hepgen.simulators.shower.FinalStateRadiation` stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray

from hepgen.errors import SimulationError
from hepgen.simulators.parton import M_Z, SIN2_THETA_W
from hepgen.simulators.pythia.base import PythiaStage
from hepgen.simulators.pythia.generator import Setting
from hepgen.simulators.stage import State

#: Leading order with both radiations: no multiple interactions, no hadrons.
DEFAULTS: dict[str, Setting] = {
    "WeakSingleBoson:ffbar2gmZ": True,
    "23:onMode": False,
    "23:onIfAny": 13,
    "PartonLevel:MPI": False,
    "HadronLevel:all": False,
}
#: What is read from each event, in this order.
COLUMNS = (
    "mass", "y", "pt", "bare_mass",
    "pt_negative", "eta_negative", "phi_negative", "pt_positive", "eta_positive", "phi_positive",
)  # fmt: skip

BOSON, MUON, DECAYED = 23, 13, 23


class PythiaDimuons(PythiaStage):
    """Muon pairs from Pythia 8, in the place of parton level and both radiations.

    ``m_z`` is Pythia's ``23:m0``, ``sin2_theta_w`` its ``StandardModel:sin2thetaW``; Γ_Z
    follows from them, 2.504 GeV at the defaults. Pythia's propagator has a width that runs with
    s, s − m_Z² + i sΓ_Z/m_Z, as the world average of m_Z has; in that of the helicity
    amplitudes, where the width is fixed, the same line is at a mass smaller by Γ_Z²/(2m_Z) =
    34 MeV.

    The sites ``pythia_*`` have what is in :data:`COLUMNS`; their density is not known.

    Arguments:
        sqrt_s: GeV.
        window: Range of the generated mass, GeV.
        settings: More settings, by Pythia's names; they win over :data:`DEFAULTS`.
    """

    parameters = (M_Z, SIN2_THETA_W)
    meaning = {"m_z": "23:m0", "sin2_theta_w": "StandardModel:sin2thetaW"}  # noqa: RUF012
    columns = ("mass", "y", "pt", "bare_mass", "muon_pt", "muon_eta", "muon_phi")

    def __init__(
        self,
        sqrt_s: float = 7000.0,
        window: tuple[float, float] = (50.0, 150.0),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        beams: dict[str, Setting] = {
            "Beams:eCM": sqrt_s,
            "PhaseSpace:mHatMin": window[0],
            "PhaseSpace:mHatMax": window[1],
        }
        super().__init__({**DEFAULTS, **beams, **(settings or {})})

    def draw(self, parameters: Mapping[str, float], n: int, seed: int) -> NDArray[np.float64]:
        """``n`` events at one parameter point, shape ``(n, len(COLUMNS))``."""
        events = self.events(parameters, n, seed)
        return np.stack([ak.to_numpy(events[c]) for c in COLUMNS], axis=-1)

    def read(self, events: ak.Array) -> dict[str, Any]:
        """The boson before its decay, and its muons after radiation."""
        particles = events["prt"]
        last = ak.firsts(particles[particles["id"] == BOSON][:, ::-1])
        _require(
            ~ak.is_none(last), "a boson γ*/Z (23)",
            "the processes that are on (WeakSingleBoson:ffbar2gmZ makes it), PartonLevel:all",
        )  # fmt: skip
        boson = momentum(last)
        legs = {"negative": _muon(particles, MUON), "positive": _muon(particles, -MUON)}
        found = {"mass": ak.to_numpy(last["m"]), "y": _rapidity(boson), "pt": _pt(boson)}
        found["bare_mass"] = _mass(legs["negative"] + legs["positive"])
        for charge, leg in legs.items():
            found[f"pt_{charge}"] = _pt(leg)
            found[f"eta_{charge}"] = np.arcsinh(leg[2] / _pt(leg))
            found[f"phi_{charge}"] = np.arctan2(leg[1], leg[0])
        return found

    def state(self, drawn: State) -> State:
        """The muons of an event in one column, the μ⁻ first."""
        muons = {
            f"muon_{c}": torch.stack([drawn[f"{c}_{q}"] for q in ("negative", "positive")], -1)
            for c in ("pt", "eta", "phi")
        }
        return {name: drawn[name] for name in self.provides if name in drawn} | muons


def momentum(particles: ak.Array) -> NDArray[np.float64]:
    """(px, py, pz, E) of one particle an event, shape ``(4, n)``."""
    return np.stack([ak.to_numpy(particles["p"][c]) for c in ("px", "py", "pz", "e")])


def _muon(particles: ak.Array, identity: int) -> NDArray[np.float64]:
    """The momentum of the muon that the boson decayed to, after its last emission."""
    index = ak.local_index(particles["id"])
    born = (particles["id"] == identity) & (abs(particles["status"]) == DECAYED)
    _require(
        ak.any(born, axis=1), f"a muon ({identity}) from its decay", "23:onMode and 23:onIfAny"
    )
    count = ak.to_numpy(ak.num(index))
    start = np.cumsum(count) - count
    flat = ak.flatten(particles)
    known = {c: ak.to_numpy(flat[c]) for c in ("id", "daughter1", "daughter2")}
    now = start + ak.to_numpy(ak.firsts(index[born]))
    while True:
        # A copy or an emission: the muon is among its own daughters.
        daughters = [start + known[d][now] for d in ("daughter1", "daughter2")]
        same = [(d > now) & (known["id"][d] == identity) for d in daughters]
        then = np.select(same, daughters, now)
        if (then == now).all():
            return momentum(flat[now])
        now = then


def _require(there: ak.Array, what: str, settings: str) -> None:
    """Refuse events without a particle that is read of each."""
    missing = int(ak.sum(~there))
    if missing:
        raise SimulationError(
            f"Pythia made {missing} of {len(there)} events without {what}, which is read of each; "
            f"check the settings: {settings}"
        )


def _pt(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.hypot(p[0], p[1]))


def _mass(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt((p[3] ** 2 - (p[:3] ** 2).sum(0)).clip(min=0)))


def _rapidity(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.log((p[3] + p[2]) / (p[3] - p[2])))
