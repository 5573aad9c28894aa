"""The chains of e⁺e⁻ → μ⁺μ⁻ for the contract tests."""

from __future__ import annotations

from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu import AngleReconstruction, DirectionDetector, ElectronPositron
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case

POINT = {
    "sin2_theta_w": 0.22,
    "m_z": 91.0,
    "gamma_z": 2.6,
    "angular_resolution": 0.05,
    "charge_confusion": 0.08,
    "pair_efficiency": 0.8,
    "efficiency_slope": 0.4,
}
MOVED = {name: 1.04 * value for name, value in POINT.items()} | {"m_z": 91.1}
SCAN = {"energies": [89.0, 91.0, 93.0, 120.0], "luminosities": [2.0, 1.0, 2.0, 50.0]}


def case(chain: Chain, scored: bool = False) -> Case:
    own = {name: POINT[name] for name in chain.parameters.names}
    observed = "Dimuon_cos_theta" if "Dimuon_cos_theta" in chain.observables else "cos_theta"
    return Case(
        chain, own, {n: MOVED[n] for n in own}, "cos_theta", observed,
        {"sin2_theta_w": (0.1, 0.22, 0.4)}, scored,
    )  # fmt: skip


CASES: dict[str, Case] = {
    "ee_mumu, parton": case(Chain([ElectronPositron((89.0,), (1.0,))])),
    "ee_mumu": case(process("ee_mumu", energies=[60.0]), scored=False),
    "ee_mumu, scan": case(process("ee_mumu", cos_max=0.8, **SCAN), scored=True),
}
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "ee_mumu parton": (ElectronPositron(), ()),
    "ee_mumu detector": (DirectionDetector(), (ElectronPositron(),)),
    "ee_mumu reconstruction": (AngleReconstruction(), (ElectronPositron(), DirectionDetector())),
}
