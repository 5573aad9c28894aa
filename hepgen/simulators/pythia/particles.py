"""Stable particles from Pythia 8: by default e⁺e⁻ → γ*/Z → hadrons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import awkward as ak
import numpy as np

from hepgen.parameters import Parameter
from hepgen.simulators.pythia.base import PythiaStage
from hepgen.simulators.pythia.generator import Setting

#: e⁺e⁻ annihilation to the five light quarks, without radiation off the beams.
DEFAULTS: dict[str, Setting] = {
    "Beams:idA": -11,
    "Beams:idB": 11,
    "WeakSingleBoson:ffbar2gmZ": True,
    "23:onMode": False,
    "23:onIfAny": "1 2 3 4 5",
    "PDF:lepton": False,
}
#: As in Pythia's default tune (Monash 2013: Skands, Carrazza, Rojo, Eur. Phys. J. C 74 (2014)
#: 3024), within the ranges that Pythia takes.
ALPHA_S = Parameter("alpha_s", 0.1365, "", label=r"$\alpha_s(m_Z)$", low=0.06, high=0.25)
LUND_A = Parameter("lund_a", 0.68, "", label="$a$", low=0.0, high=2.0)
LUND_B = Parameter("lund_b", 0.98, "1/GeV²", label="$b$", low=0.2, high=2.0)

HARD, BOTTOM = 23, 5


class PythiaParticles(PythiaStage):
    """Stable particles from Pythia 8, in the place of parton level, shower and hadronisation.

    ``alpha_s`` is Pythia's ``TimeShower:alphaSvalue``, ``lund_a`` and ``lund_b`` its
    ``StringZ:aLund`` and ``StringZ:bLund``. The columns are ``Particle_px``, ``_py``, ``_pz``,
    ``_e`` (GeV) and ``_id`` (PDG), shape ``(G, E, K)``, with ``nParticle``, and
    ``hard_flavour``, the PDG number of the primary quark (0 where there is none).

    Arguments:
        sqrt_s: GeV.
        settings: More settings, by Pythia's names; they win over :data:`DEFAULTS`. The three
            parameters win over a tune (``Tune:ee``): give them its values too.
    """

    parameters = (ALPHA_S, LUND_A, LUND_B)
    meaning = {  # noqa: RUF012
        "alpha_s": "TimeShower:alphaSvalue",
        "lund_a": "StringZ:aLund",
        "lund_b": "StringZ:bLund",
    }
    columns = (
        "hard_flavour", "nParticle",
        "Particle_px", "Particle_py", "Particle_pz", "Particle_e", "Particle_id",
    )  # fmt: skip

    def __init__(self, sqrt_s: float = 91.2, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__({**DEFAULTS, "Beams:eCM": sqrt_s, **(settings or {})})

    def read(self, events: ak.Array) -> dict[str, Any]:
        """The particles that are left at the end, and the flavour of the first quark."""
        particles = events["prt"]
        flavour = abs(particles["id"])
        quarks = flavour[(abs(particles["status"]) == HARD) & (flavour <= BOTTOM)]
        hard = ak.to_numpy(ak.fill_none(ak.firsts(quarks), 0))
        final = particles[particles["status"] > 0]
        found = {f"Particle_{c}": final["p"][c] for c in ("px", "py", "pz", "e")}
        identity = ak.values_astype(final["id"], np.int64)
        return {"hard_flavour": hard.astype(np.int64), **found, "Particle_id": identity}
