"""The chains of Z → μμ for the contract tests."""

from __future__ import annotations

from hepgen.simulators.chain import Chain
from hepgen.simulators.detector import MuonDetector
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes.registry import process
from hepgen.simulators.reconstruction import DimuonReconstruction
from hepgen.simulators.shower import FinalStateRadiation, InitialStateRecoil
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case, dimuon_case

POINT = {
    "m_z": 90.9,
    "gamma_z": 2.7,
    "sin2_theta_w": 0.24,
    "background_fraction": 0.1,
    "background_slope": 0.03,
    "alpha_s": 0.12,
    "primordial_kt": 1.5,
    "muon_scale": 0.003,
    "muon_resolution": 1.4,
    "muon_efficiency": 0.9,
}
MOVED = {name: 1.04 * value for name, value in POINT.items()} | {"m_z": 91.2}
VARIED = {"m_z": (89.5, 90.9, 92.0), "muon_scale": (-0.01, 0.0, 0.02)}


def case(chain: Chain, scored: bool = False) -> Case:
    return dimuon_case(chain, POINT, MOVED, VARIED, scored)


CASES: dict[str, Case] = {
    "parton": case(Chain([DrellYan()])),
    "parton, narrow": case(Chain([DrellYan(13_000.0, (88.0, 94.0))]), scored=True),
    "recoil": case(Chain([DrellYan(), InitialStateRecoil()])),
    "radiation": case(Chain([DrellYan(), InitialStateRecoil(), FinalStateRadiation()])),
    "zmumu": case(process("zmumu"), scored=True),
    "zmumu, other options": case(
        process(
            "zmumu", sqrt_s=13_000.0, photon_x_min=0.01, charge_flip=0.2, pt_min=10.0, eta_max=2.4
        ),
        scored=True,
    ),
}
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "zmumu parton": (DrellYan(), ()),
    "zmumu isr": (InitialStateRecoil(), (DrellYan(),)),
    "zmumu fsr": (FinalStateRadiation(), (DrellYan(), InitialStateRecoil())),
    "zmumu detector": (
        MuonDetector(), (DrellYan(), InitialStateRecoil(), FinalStateRadiation()),
    ),
    "zmumu reconstruction": (
        DimuonReconstruction(),
        (DrellYan(), InitialStateRecoil(), FinalStateRadiation(), MuonDetector()),
    ),
}  # fmt: skip
