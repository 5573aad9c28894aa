"""The chains of high-mass Drell–Yan with a contact interaction for the contract tests."""

from __future__ import annotations

from hepgen.simulators.chain import Chain
from hepgen.simulators.contact import ContactDrellYan
from hepgen.simulators.processes.registry import process
from hepgen.simulators.shower import InitialStateRecoil
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case, dimuon_case

POINT = {
    "sin2_theta_w": 0.24,
    "c_ll": -0.1,
    "c_lr": 0.05,
    "c_rl": 0.08,
    "c_rr": -0.03,
    "alpha_s": 0.12,
    "primordial_kt": 1.5,
    "muon_scale": 0.003,
    "muon_resolution": 1.4,
    "muon_efficiency": 0.9,
}
MOVED = {name: 1.04 * value for name, value in POINT.items()}
VARIED = {"c_ll": (-1.0, 0.0, 0.1), "muon_scale": (-0.01, 0.0, 0.02)}


def case(chain: Chain, scored: bool = False) -> Case:
    return dimuon_case(chain, POINT, MOVED, VARIED, scored)


CASES: dict[str, Case] = {
    # The stages that follow have the same laws tested in the chain zmumu.
    "dy_eft, recoil": case(Chain([ContactDrellYan(), InitialStateRecoil(1000.0)]), scored=True),
    "dy_eft": case(process("dy_eft")),
}
#: Each stage, and those that must come before it; the others are in the chain zmumu.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "dy_eft parton": (ContactDrellYan(), ()),
    "dy_eft isr": (InitialStateRecoil(1000.0), (ContactDrellYan(),)),
}
