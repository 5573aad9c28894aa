"""Hybrid chains for the contract tests: the laws hold for any weights of an exact surrogate."""

from __future__ import annotations

import torch

from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.results import TrainingCurve
from hepgen.simulators.chain import Chain
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes.registry import process
from hepgen.simulators.shower import InitialStateRecoil
from hepgen.simulators.stage import Stage
from hepgen.surrogates.families import build
from hepgen.surrogates.hybrid import SurrogateStage, hybrid
from hepgen.surrogates.images.cells import CellCode
from hepgen.surrogates.images.law import CellLaw
from hepgen.surrogates.images.surrogate import ImageSurrogate
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


def small_calorimeter(**options: float) -> Chain:
    """Of two layers of six cells."""
    return process("calo_shower", layers=2, eta_cells=3, phi_cells=2, **options)


def showers() -> ImageSurrogate:
    """A surrogate of the images of the small calorimeter, with random weights."""
    stages, cells = ("profile", "spots", "digitisation"), Column("cell_signal", 12)
    target = Target(stages, (), (cells,), ("energy", "gain"), {"noise": 0.003}, ("reconstruction",))
    domain = Domain(("energy", "gain"), (30.0, 0.98), (70.0, 1.02))
    roots = Domain((*domain.names, "r_0", "r_1"), (*domain.low, 0, 0), (*domain.high, 40, 40))
    shares = (Feature("E_dep/E_inc", low=0.0), Feature("E_0/E_from_0", low=0.0, high=1.0))
    manifest = {"target": target.to_dict(), "process": "calo_shower",
                "chain": {"layers": 2, "eta_cells": 3, "phi_cells": 2}}  # fmt: skip

    def part(features: FeatureSpace, given: Domain, centre: tuple[float, ...]) -> Surrogate:
        inputs = FeatureSpace(
            tuple(map(Feature, given.names)), centre, (10.0, 0.01, 1, 1)[: len(centre)]
        )
        model = build("coupling", len(features), len(inputs), {"layers": 2, "hidden": [8]}, seed=4)
        curve = TrainingCurve((), (), (), 0, 0.0, "")
        return Surrogate(model, "coupling", features, inputs, given, curve, manifest)

    energies = part(FeatureSpace(shares, (-0.2, -0.5), (0.05, 0.3)), domain, (50.0, 1.0))
    voxels = FeatureSpace(tuple(Feature(f"cell_{i}") for i in range(12)), (0.0,) * 12, (1.0,) * 12)
    law = CellLaw(12, 4, 2)
    generator = torch.Generator().manual_seed(1)
    z = torch.rand(400, 4, generator=generator, dtype=torch.float64)
    v = torch.randn(400, 12, generator=generator, dtype=torch.float64) + 5 * z[:, 2:3]
    law.fit(torch.tensor([30.0, 0.98, 2.0, 2.0]) + z * torch.tensor([40.0, 0.04, 4, 4]),
            v.clamp(min=0), generator)  # fmt: skip
    code = CellCode((2, 3, 2), least=0.01, step=0.001)
    return ImageSurrogate(code, law, energies, part(voxels, roots, (50.0, 1.0, 5.0, 5.0)))


def _showers_stage() -> SurrogateStage:
    replaced = small_calorimeter().stages[:3]
    return SurrogateStage(showers(), [p for stage in replaced for p in stage.parameters])


CASES: dict[str, Case] = {
    "zmumu, recoil by a flow": zmumu.case(hybrid(process("zmumu"), recoil()), scored=True),
}
STAGES: dict[str, tuple[Stage, tuple[Stage, ...]]] = {
    "recoil by a flow": (SurrogateStage(recoil(), InitialStateRecoil.parameters), (DrellYan(),)),
    "showers by a surrogate": (_showers_stage(), ()),
}
