"""Calorimeter showers for the contract tests: few GeV, few cells, few photo-electrons."""

from __future__ import annotations

from hepgen.simulators.calorimeter.digitisation import Digitisation
from hepgen.simulators.calorimeter.material import Geometry
from hepgen.simulators.calorimeter.profile import ShowerProfile
from hepgen.simulators.calorimeter.reconstruction import CalorimeterReconstruction
from hepgen.simulators.calorimeter.spots import Spots
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case

POINT = {
    "energy": 1.0,
    "shower_depth": 1.1,
    "impact_eta": 0.2,
    "impact_phi": -0.3,
    "shower_width": 1.2,
    "gain": 0.95,
    "constant_term": 0.05,
    "sampling_term": 0.1,
    "noise": 0.01,
}
MOVED = {
    "energy": 1.01,
    "shower_depth": 1.11,
    "impact_eta": 0.21,
    "impact_phi": -0.29,
    "shower_width": 1.21,
    "gain": 0.955,
    "constant_term": 0.0502,
    "sampling_term": 0.101,
    "noise": 0.0101,
}
VARIED = {"energy": (0.8, 1.0, 1.3), "impact_eta": (-0.5, 0.2, 0.4)}


def case(chain: Chain, scored: bool = False) -> Case:
    own = {name: POINT[name] for name in chain.parameters.names}
    return Case(
        chain, own, {n: MOVED[n] for n in own}, "shower_t",
        "Calo_energy" if "Calo_energy" in chain.observables else "shower_t",
        {n: v for n, v in VARIED.items() if n in own}, scored, events=10_000,
    )  # fmt: skip


SMALL = Geometry(layers=3, eta_cells=4, phi_cells=3, depth=12.0)
EDGE = Geometry(layers=2, eta_cells=2, phi_cells=1, depth=10.0, cell_size=60.0)
CASES: dict[str, Case] = {
    "shower profile": case(Chain([ShowerProfile()]), scored=True),
    "shower spots": case(Chain([ShowerProfile("photon"), Spots(EDGE, slices=1)]), scored=True),
    "calo_shower": case(
        process(
            "calo_shower", layers=3, eta_cells=4, phi_cells=3, depth=12.0, slices=2,
            light_yield=100.0, threshold=0.02,
        ),
        scored=True,
    ),
    "calo_shower, photon": case(
        process(
            "calo_shower", particle="photon", layers=2, eta_cells=2, phi_cells=1, depth=10.0,
            cell_size=60.0, slices=1, light_yield=200.0, adc_step=0.005, adc_bits=12,
            threshold=0.0,
        ),
        scored=True,
    ),
}  # fmt: skip
_BEFORE = (ShowerProfile(), Spots(SMALL), Digitisation())
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "calo profile": (ShowerProfile(), ()),
    "calo photon": (ShowerProfile("photon"), ()),
    "calo spots": (Spots(SMALL), _BEFORE[:1]),
    "calo digitisation": (Digitisation(), _BEFORE[:2]),
    "calo reconstruction": (CalorimeterReconstruction(SMALL), _BEFORE),
}
