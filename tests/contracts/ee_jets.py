"""The chains of e⁺e⁻ → jets for the contract tests."""

from __future__ import annotations

from hepgen.simulators.annihilation import QuarkPairs
from hepgen.simulators.chain import Chain
from hepgen.simulators.dipole_shower import DipoleShower
from hepgen.simulators.fragmentation import Hadronisation
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage
from tests.contracts.case import Case

POINT = {
    "m_z": 90.9,
    "gamma_z": 2.7,
    "sin2_theta_w": 0.24,
    "alpha_s": 0.12,
    "shower_cutoff": 1.2,
    "lund_a": 0.6,
    "lund_b": 0.9,
}
MOVED = {n: 1.02 * v for n, v in POINT.items() if n != "shower_cutoff"} | {"m_z": 91.2}
VARIED = {"alpha_s": (0.09, 0.12, 0.14), "lund_a": (0.4, 0.6, 1.2)}


def case(chain: Chain, observed: str, scored: bool = False, events: int = 6_000) -> Case:
    own = {name: POINT[name] for name in chain.parameters.names}
    varied = VARIED if "alpha_s" in own else {"sin2_theta_w": (0.1, 0.23, 0.5)}
    return Case(
        chain, own, {n: MOVED[n] for n in own if n in MOVED}, "cos_theta", observed, varied, scored, events
    )


CASES: dict[str, Case] = {
    "ee partons": case(Chain([QuarkPairs(93.0)]), "cos_theta", True, 100_000),
    "ee shower": case(Chain([QuarkPairs(), DipoleShower()]), "nParton"),
    "ee_jets": case(process("ee_jets"), "nCharged", True),
    "ee_jets, other options": case(
        process(
            "ee_jets", sqrt_s=40.0, running_coupling=False, alpha_s_max=0.2, jet_stop=2.0,
            decay_kaons=False,
        ),
        "nCharged", True,
    ),
}  # fmt: skip
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "ee parton": (QuarkPairs(), ()),
    "ee shower": (DipoleShower(), (QuarkPairs(),)),
    "ee hadronisation": (Hadronisation(), (QuarkPairs(), DipoleShower())),
}
