"""The chains of e⁺e⁻ → jets for the contract tests."""

from __future__ import annotations

from hepgen.simulators.annihilation import QuarkPairs
from hepgen.simulators.chain import Chain
from hepgen.simulators.dipole_shower import DipoleShower
from hepgen.simulators.event_shapes import ChargedMultiplicity
from hepgen.simulators.fragmentation import Hadronisation
from hepgen.simulators.hadronic_selection import HadronicSelection
from hepgen.simulators.leading_jets import LeadingJets
from hepgen.simulators.processes.registry import process
from hepgen.simulators.stage import Stage
from tests.contracts import detector
from tests.contracts.case import Case
from tests.simulators.gun import Sprayer

GENERATOR = {
    "m_z": 90.9,
    "gamma_z": 2.7,
    "sin2_theta_w": 0.24,
    "alpha_s": 0.12,
    "shower_cutoff": 1.2,
    "lund_a": 0.6,
    "lund_b": 0.9,
}
POINT = detector.POINT | GENERATOR
MOVED = detector.MOVED | {
    n: 1.02 * v for n, v in GENERATOR.items() if n != "shower_cutoff"
} | {"m_z": 91.2}  # fmt: skip
VARIED = {
    "alpha_s": (0.07, 0.12, 0.144), "lund_a": (0.3, 0.7, 1.6), "shower_cutoff": (3.0, 1.5, 0.8),
}  # fmt: skip


def case(chain: Chain, observed: str, events: int, sample: int, *laws: str) -> Case:
    """The laws of a parameter are tested where its stage ends the chain, and of some behind all."""
    own = {name: POINT[name] for name in chain.parameters.names}
    moved = {name: MOVED[name] for name in own if name in MOVED}
    return Case(
        chain, own, moved, "cos_theta", observed, VARIED,
        events=events, sample=sample, laws=laws,
    )  # fmt: skip


ELECTROWEAK = {n: POINT[n] for n in ("m_z", "gamma_z", "sin2_theta_w")}
FULL = process("ee_jets")
CASES: dict[str, Case] = {
    "ee partons": Case(
        Chain([QuarkPairs(93.0)]), ELECTROWEAK, {n: MOVED[n] for n in ELECTROWEAK},
        "cos_theta", "cos_theta", {"sin2_theta_w": (0.1, 0.23, 0.5)},
    ),
    "ee_jets": case(
        FULL, "Thrust", 3_000, 400,
        "alpha_s", "track_efficiency", "hcal_scale", "jet_energy_scale",
    ),
    "ee hadrons, other options": case(
        process(
            "ee_jets", sqrt_s=40.0, running_coupling=False, alpha_s_max=0.2, jet_stop=2.0,
            decay_kaons=False, detector=False,
        ),
        "nParticle", 5_000, 2_000, "alpha_s", "lund_a", "lund_b",
    ),
}  # fmt: skip
#: Each stage, and those that must come before it.
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "ee parton": (QuarkPairs(), ()),
    "ee shower": (DipoleShower(), (QuarkPairs(),)),
    "ee hadronisation": (Hadronisation(), (QuarkPairs(), DipoleShower())),
    "ee multiplicity": (ChargedMultiplicity(), (Sprayer(),)),
    "ee selection": (HadronicSelection(91.2, balanced=True), FULL.stages[:-1]),
    "ee leading jets": (LeadingJets(), FULL.stages),
}
