"""Hybrid chains for the contract tests: the laws hold for any weights of an exact surrogate."""

from __future__ import annotations

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.results import TrainingCurve
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes.registry import process
from hepgen.simulators.shower import InitialStateRecoil
from hepgen.simulators.stage import Stage
from hepgen.surrogates.families import build
from hepgen.surrogates.hybrid import SurrogateStage, hybrid
from hepgen.surrogates.surrogate import Domain, Surrogate
from hepgen.surrogates.target import Column, Target
from tests.contracts import zmumu
from tests.contracts.case import Case


def recoil(method: str = "flow") -> Surrogate:
    """A surrogate of the recoil, (pT, φ) given the mass and α_s, with random weights."""
    target = Target(
        ("isr",), (Column("mass"),), (Column("pt"), Column("pt_phi")),
        ("alpha_s", "primordial_kt"), {},
    )  # fmt: skip
    inputs = tuple(Feature(name) for name in target.context_names)
    return Surrogate(
        build(method, 2, 3, {"layers": 2, "hidden": [8]}, seed=4).double(),
        method,
        FeatureSpace((Feature("pt", "GeV", low=0.0), Feature("pt_phi")), (1.5, 0.0), (1.0, 1.0)),
        FeatureSpace(inputs, (91.0, 0.12, 1.5), (20.0, 0.01, 0.5)),
        Domain(target.context_names, (40.0, 0.1, 0.1), (160.0, 0.14, 4.0)),
        TrainingCurve((), (), (), 0, 0.0, ""),
        {"target": target.to_dict(), "process": "zmumu"},
    )  # fmt: skip


CASES: dict[str, Case] = {
    "zmumu, recoil by a flow": zmumu.case(hybrid(process("zmumu"), recoil()), scored=True),
}
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "recoil by a flow": (SurrogateStage(recoil(), InitialStateRecoil.parameters), (DrellYan(),)),
}
