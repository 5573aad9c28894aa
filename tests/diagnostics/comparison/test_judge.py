"""A judgement as a whole: a surrogate that is right, one that is wrong, images, JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hepgen.diagnostics.comparison.judge import (
    ALL_CELLS,
    judge,
    judge_showers,
    judgement_checks,
)
from hepgen.diagnostics.comparison.likelihood import negative_log_likelihood
from hepgen.diagnostics.comparison.showers import cell_spectrum, shower_observables
from hepgen.diagnostics.comparison.timing import seconds_per_event
from hepgen.errors import DataError, SurrogateError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.judgement import SurrogateJudgement
from hepgen.results import TrainingCurve, to_json
from hepgen.simulators.calorimeter.material import Geometry
from hepgen.simulators.calorimeter.reconstruction import CalorimeterReconstruction
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.surrogate import Domain, Surrogate

WIDTH = 0.5


class Normal(ConditionalDensity):
    """u ~ N(c + shift, 0.5²) in two columns."""

    quality = Quality("exact")
    options: dict[str, Any] = {}  # noqa: RUF012 (a constant)

    def __init__(self, shift: float) -> None:
        super().__init__(2, 1)
        self.shift = nn.Parameter(torch.tensor([shift, 0.0]))

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(u, context).value

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:
        return context + self.shift + WIDTH * noise

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:
        z = (u - context - self.shift) / WIDTH
        return LogDensity.exact(
            (-0.5 * z.square() - math.log(WIDTH * math.sqrt(2 * math.pi))).sum(-1)
        )


def surrogate(shift: float) -> Surrogate:
    features = (Feature("energy", "GeV", low=0.0), Feature("angle"))
    space = FeatureSpace(features, (1.0, 0.0), (2.0, 0.5))
    inputs = FeatureSpace((Feature("theta"),), (0.0,), (1.0,))
    curve = TrainingCurve((0.0,), (0.0,), (0.0,), 0, 1.5, "")
    domain = Domain(("theta",), (-1.0,), (1.0,))
    return Surrogate(Normal(shift), "flow", space, inputs, domain, curve, {"process": "toy"})


def simulation(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    theta = 2 * torch.rand(n, 1, generator=generator, dtype=torch.float64) - 1
    return surrogate(0.0).sample(1, theta, seed)[0], theta


@cache
def judged(shift: float) -> SurrogateJudgement:
    return judge(surrogate(shift), *simulation(4000, 1), shift=0.5, times=False, seed=3)


def test_a_surrogate_that_is_right_is_not_told_apart() -> None:
    found = judged(0.0)
    assert "Not told apart" in found.verdict
    assert found.events == 2000
    assert all(check.passed for check in judgement_checks(found, c2st=0.55, p_value=0.001))
    assert found.frechet is not None
    assert abs(found.frechet.surrogate.value) < 4 * found.frechet.surrogate.error
    assert all(one.p_value > 1e-4 for one in found.features)


def test_a_surrogate_that_is_wrong_is_told_apart_where_it_is_wrong() -> None:
    found = judged(0.25)
    assert "old apart" in found.verdict
    assert "Not" not in found.verdict
    energy, angle = found.features
    assert energy.p_value < 1e-6 < angle.p_value
    assert energy.wasserstein > 4 * energy.wasserstein_null.value
    failed = [c.name for c in judgement_checks(found, c2st=0.52, p_value=0.001) if not c.passed]
    assert failed == ["surrogate flow: C2ST, perceptron", "surrogate flow: C2ST, boosted trees"]


def test_the_null_does_not_depend_on_the_surrogate() -> None:
    right, wrong = judged(0.0).classifiers[0], judged(0.25).classifiers[0]
    assert right.null.auc == wrong.null.auc


def test_a_known_null_is_the_one_that_would_be_found() -> None:
    found = judge(
        surrogate(0.25), *simulation(4000, 1), shift=0.5, times=False, known=judged(0.0), seed=3
    )
    for known, trained in zip(found.classifiers, judged(0.25).classifiers, strict=True):
        assert known.surrogate.accuracy == trained.surrogate.accuracy
        assert known.null.auc == trained.null.auc
        assert known.planted is not None
        assert trained.planted is not None
        assert known.planted.auc == trained.planted.auc


def test_the_likelihood_is_the_entropy_of_the_simulator() -> None:
    """H[u] + Σ ln σ + E[ln x₀]: the Jacobian of the logarithm and of the scales."""
    x, theta = simulation(4000, 1)
    found = negative_log_likelihood(surrogate(0.0), x, theta)
    entropy = 2 * (0.5 * np.log(2 * np.pi * np.e) + np.log(WIDTH)) + np.log(2.0 * 0.5)
    expected = entropy + x[:, 0].log().mean().item()
    assert found.value == pytest.approx(expected, abs=4 * 0.011)
    wrong = negative_log_likelihood(surrogate(0.25), x, theta)
    # KL of two normals: δ²/2σ².
    assert wrong.value - found.value == pytest.approx(0.125, abs=0.03)


def test_a_judgement_survives_json() -> None:
    text = to_json(judged(0.25))
    back = SurrogateJudgement.from_dict(json.loads(text))
    assert to_json(back) == text
    assert back.verdict == judged(0.25).verdict
    assert back.domain == {"theta": (-1.0, 1.0)}


def test_what_cannot_be_judged_is_refused() -> None:
    x, theta = simulation(100, 1)
    with pytest.raises(DataError, match="NaN"):
        judge(surrogate(0.0), torch.full_like(x, torch.nan), theta)
    with pytest.raises(SurrogateError, match="outside the range"):
        judge(surrogate(0.0), x, theta + 3)
    with pytest.raises(DataError, match="expected at least"):
        judge(surrogate(0.0), x[:4], theta[:4])
    with pytest.raises(DataError, match="at least two"):
        negative_log_likelihood(surrogate(0.0), x[:1], theta[:1])


def test_times_are_positive_and_fall_with_the_batch() -> None:
    times = seconds_per_event(surrogate(0.0), torch.zeros(1, 1), (1, 1000))
    assert set(times) == {"1", "1000"}
    assert 0 < times["1000"] < times["1"]


GEOMETRY = Geometry(layers=3, eta_cells=4, phi_cells=5)


def images(n: int, seed: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Cells that are log-normal, two thirds of them empty."""
    rng = np.random.default_rng(seed)
    incident = rng.uniform(10, 100, n)
    cells = rng.lognormal(-3, 1, (n, GEOMETRY.voxels)) * (rng.uniform(size=(n, 60)) < 1 / 3)
    cells *= scale * incident[:, None] / 10
    return torch.from_numpy(cells), torch.from_numpy(incident)


def test_observables_of_one_cell_are_where_it_is() -> None:
    image = torch.zeros(1, *GEOMETRY.shape)
    image[0, 1, 3, 0] = 2.0
    found = shower_observables(image, torch.tensor([8.0]), GEOMETRY)
    for name, value in (
        ("Calo_energy", 2.0), ("Calo_ratio", 0.25), ("Layer1_energy", 2.0), ("Layer1_eta", 1.5),
        ("Layer1_phi", -2.0), ("Layer1_eta_width", 0.0), ("Layer1_sparsity", 0.95),
        ("Layer0_energy", 0.0), ("Layer0_sparsity", 1.0),
    ):  # fmt: skip
        assert found.column(name)[0] == pytest.approx(value), name


def test_two_cells_have_half_their_distance_as_width() -> None:
    image = torch.zeros(1, *GEOMETRY.shape)
    image[0, 0, 0, 1] = image[0, 0, 3, 1] = 1.0
    found = shower_observables(image, None, GEOMETRY)
    assert found.column("Layer0_eta_width")[0] == pytest.approx(1.5)
    assert found.column("Layer0_phi_width")[0] == pytest.approx(0)
    assert "Calo_ratio" not in {one.name for one in found.features}


def test_layer_energies_are_those_of_the_reconstruction() -> None:
    image, _ = images(20, 1)
    found = shower_observables(image, None, GEOMETRY)
    expected = CalorimeterReconstruction(GEOMETRY).observables(image)
    assert found.column("Calo_energy") == pytest.approx(expected["Calo_energy"].numpy())
    for i in range(3):
        assert found.column(f"Layer{i}_energy") == pytest.approx(
            expected["Layer_energy"][:, i].numpy()
        )


def test_images_are_judged_by_their_observables() -> None:
    found = judge_showers(
        images(600, 1), images(600, 2, 1.3), images(600, 3), GEOMETRY, threshold=0.005
    )
    by_name = {one.name: one for one in found.features}
    assert by_name["Calo_ratio"].p_value < 1e-4
    assert by_name["Cell_energy"].p_value < 1e-4
    assert found.classifiers[0].surrogate.auc.value > found.classifiers[0].null.auc.value + 0.1


def test_images_are_judged_by_their_cells() -> None:
    found = judge_showers(
        images(600, 1), images(600, 2, 4.0), images(600, 3), GEOMETRY, threshold=0.005
    )
    cells = found.classifiers[-1]
    assert cells.name == ALL_CELLS
    assert cells.surrogate.auc.value > cells.null.auc.value + 0.1


def test_the_errors_of_the_cell_spectrum_are_those_of_events() -> None:
    """Events that are copies of one cell pattern: a bin scatters as events do, not as cells."""
    image, _ = images(2000, 1)
    found = cell_spectrum(image, images(2000, 2)[0], images(2000, 3)[0], 0.005)
    assert found.p_value > 1e-4
    tripled = [images(2000, s)[0].repeat(1, 3) for s in (1, 2, 3)]
    more = cell_spectrum(tripled[0], tripled[1], tripled[2], 0.005)
    assert more.chi2 == pytest.approx(found.chi2, rel=0.1)


def test_images_of_another_calorimeter_are_refused() -> None:
    with pytest.raises(DataError, match="60"):
        shower_observables(torch.zeros(3, 61), None, GEOMETRY)
    with pytest.raises(DataError, match="NaN"):
        shower_observables(torch.full((3, 60), torch.nan), None, GEOMETRY)
    with pytest.raises(DataError, match="positive"):
        cell_spectrum(*(torch.ones(2, 60),) * 3, threshold=0.0)


def test_a_record_without_optional_parts_survives_json() -> None:
    bare = replace(judged(0.0), correlations=None, frechet=None, kernel=None, nll=None)
    text = to_json(bare)
    assert to_json(SurrogateJudgement.from_dict(json.loads(text))) == text
