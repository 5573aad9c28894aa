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
VARIED = {
    "alpha_s": (0.07, 0.12, 0.148), "lund_a": (0.3, 0.7, 1.6), "shower_cutoff": (3.0, 1.5, 0.8),
}  # fmt: skip


def case(chain: Chain) -> Case:
    """At hadron level; the laws of the parton level's parameters are tested there."""
    own = {name: POINT[name] for name in chain.parameters.names}
    return Case(
        chain, own, MOVED, "cos_theta", "nParticle", VARIED, scored=True, events=5_000,
        laws=("alpha_s", "lund_a", "lund_b"),
    )  # fmt: skip


ELECTROWEAK = {n: POINT[n] for n in ("m_z", "gamma_z", "sin2_theta_w")}
CASES: dict[str, Case] = {
    "ee partons": Case(
        Chain([QuarkPairs(93.0)]), ELECTROWEAK, {n: MOVED[n] for n in ELECTROWEAK},
        "cos_theta", "cos_theta", {"sin2_theta_w": (0.1, 0.23, 0.5)},
    ),
    "ee_jets": case(process("ee_jets")),
    "ee_jets, other options": case(
        process(
            "ee_jets", sqrt_s=40.0, running_coupling=False, alpha_s_max=0.2, jet_stop=2.0,
            decay_kaons=False,
        )
    ),
}  # fmt: skip
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "ee parton": (QuarkPairs(), ()),
    "ee shower": (DipoleShower(), (QuarkPairs(),)),
    "ee hadronisation": (Hadronisation(), (QuarkPairs(), DipoleShower())),
}
