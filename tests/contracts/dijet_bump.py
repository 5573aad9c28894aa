"""The chains of the dijet resonance for the contract tests: an excess, and a deficit."""

from __future__ import annotations

from hepgen.simulators.chain import Chain
from hepgen.simulators.dijet import DijetParton
from hepgen.simulators.dijet_detector import JetResponse, OutOfCone
from hepgen.simulators.dijet_reconstruction import DijetReconstruction
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case

POINT = {
    "signal_strength": 1.5,
    "m_x": 1500.0,
    "gamma_x": 80.0,
    "background_p1": 8.5,
    "background_p2": 5.1,
    "background_p3": 0.12,
    "luminosity": 1.02,
    "out_of_cone": 0.04,
    "jet_energy_scale": 0.01,
    "jet_energy_resolution": 1.1,
}
MOVED = {name: 1.04 * value for name, value in POINT.items()} | {"m_x": 1510.0}
VARIED = {
    "m_x": (1450.0, 1500.0, 1550.0),
    "background_p2": (4.0, 5.0, 6.0),
    "jet_energy_scale": (-0.02, 0.0, 0.01),
}


def case(chain: Chain, strength: float = 1.5, scored: bool = False) -> Case:
    own = {n: POINT[n] for n in chain.parameters.names} | {"signal_strength": strength}
    moved = {n: MOVED[n] for n in own} | {"signal_strength": strength + 0.1}
    observed = "Dijet_mass" if "Dijet_mass" in chain.observables else "mass"
    return Case(
        chain, own, moved, "mass", observed, {n: v for n, v in VARIED.items() if n in own},
        scored, rate_only=("luminosity",),
    )  # fmt: skip


CASES: dict[str, Case] = {
    "dijet parton": case(Chain([DijetParton()])),
    "dijet parton, deficit": case(Chain([DijetParton(signal=10.0)]), -0.5),
    "dijet_bump": case(process("dijet_bump", signal_cross_section=20.0), scored=True),
    "dijet_bump, deficit": case(
        process("dijet_bump", signal_cross_section=10.0, spin=0, resolution_noise=0.0),
        -0.5,
        scored=True,
    ),
}
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "dijet parton": (DijetParton(), ()),
    "dijet fsr": (OutOfCone(), (DijetParton(),)),
    "dijet detector": (JetResponse(), (DijetParton(), OutOfCone())),
    "dijet reconstruction": (
        DijetReconstruction(), (DijetParton(), OutOfCone(), JetResponse()),
    ),
}  # fmt: skip
