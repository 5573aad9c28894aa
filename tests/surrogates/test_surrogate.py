"""Surrogates: what they refuse, and that their numbers are of the physical variables."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, SurrogateError, TrainingError
from hepgen.feature_space import FeatureSpace
from hepgen.features import Feature
from hepgen.pipeline.load import load
from hepgen.pipeline.show import show
from hepgen.results import TrainingCurve
from hepgen.surrogates.conditional import ConditionalDensity, LogDensity, Quality
from hepgen.surrogates.families import build
from hepgen.surrogates.surrogate import Domain, Surrogate, _most_extreme

MASS = Feature("mass", "GeV", low=60.0, high=120.0)
CURVE = TrainingCurve((), (), (), 0, 0.0, "")


def untrained() -> Surrogate:
    return Surrogate(
        build("flow", 1, 1, {"layers": 2, "hidden": [8]}, seed=2), "flow",
        FeatureSpace((MASS,), (0.1,), (0.7,)), FeatureSpace((Feature("m_z"),), (91.0,), (1.0,)),
        Domain(("m_z",), (88.0,), (94.0,)), CURVE,
    )  # fmt: skip


def sample(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 60 + 60 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    return x, 88 + 6 * torch.rand(n, 1, generator=generator, dtype=torch.float64)


def test_the_density_is_one_of_the_physical_variable() -> None:
    x = torch.linspace(60.001, 119.999, 20_001, dtype=torch.float64)[:, None]
    density = untrained().log_prob(x, torch.tensor([91.0], dtype=torch.float64)).exp()
    assert abs(torch.trapezoid(density, x[:, 0]) - 1) < 1e-3


def test_extrapolating_has_to_be_asked_for() -> None:
    surrogate, far = untrained(), torch.tensor([95.0], dtype=torch.float64)
    with pytest.raises(SurrogateError, match=r"m_z = 95 .* outside the range \[88, 94\]"):
        surrogate.log_prob(torch.tensor([[90.0]], dtype=torch.float64), far)
    daring = dataclasses.replace(surrogate, extrapolate=True)
    assert bool(daring.sample(3, far).isfinite().all())


def test_the_edge_of_the_range_is_inside_in_double_precision() -> None:
    surrogate = dataclasses.replace(untrained(), domain=Domain(("m_z",), (0.1,), (0.13,)))
    for edge in (0.1, 0.13):
        surrogate.domain.check(torch.tensor([[edge]], dtype=torch.float64))


def test_a_context_of_another_length() -> None:
    with pytest.raises(SurrogateError, match="expected 1 columns: m_z"):
        untrained().sample(3, torch.zeros(2))


@pytest.mark.parametrize("value", [60.0, 121.0, float("nan")])
def test_events_outside_the_bounds_have_no_density(value: float) -> None:
    x = torch.tensor([[90.0], [value]], dtype=torch.float64)
    with pytest.raises(DataError, match="mass"):
        untrained().log_prob(x, torch.tensor([91.0], dtype=torch.float64))


def test_too_few_events_for_the_family() -> None:
    x, theta = sample(150)
    with pytest.raises(SurrogateError, match=r"150 events to train the family 'flow'.*simulate"):
        Surrogate.fit(x, theta, features=[MASS], inputs=[Feature("m_z")])


def test_a_training_that_fails_names_the_column_and_keeps_the_last_good_state(
    tmp_path: Path,
) -> None:
    x, theta = sample(2000)
    x = x - 90
    x[7] = 3e38  # beyond the range of single precision once squared
    with pytest.raises(TrainingError, match=r"most extreme value .* is mass = 3e\+38"):
        Surrogate.fit(
            x, theta, features=[Feature("mass")], inputs=[Feature("m_z")], method="coupling",
            options={"layers": 2, "hidden": [8]}, rescue=tmp_path, batch_size=200, epochs=2,
            device="cpu",
        )  # fmt: skip
    kept = Surrogate.load(tmp_path)
    assert kept.curve.stopped == "failed"
    assert "became" in kept.manifest["unfinished"]
    assert "UNFINISHED" in show(str(tmp_path))[1]
    with pytest.raises(FileError, match="what is left of a training that failed"):
        load(tmp_path)


def test_models_of_another_kind_and_edited_ones(tmp_path: Path) -> None:
    untrained().save(tmp_path)
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace("spline", "spliney").replace("91.0", "92.0"))
    with pytest.raises(FileError, match="was edited after it was written"):
        Surrogate.load(tmp_path)


def test_sampling_and_density_agree() -> None:
    """χ² of 40,000 draws against the integrated density; false alarm below 10⁻⁴."""
    surrogate, at = untrained(), torch.tensor([91.0], dtype=torch.float64)
    x = surrogate.sample(40_000, at, seed=3)[:, 0]
    edges = torch.linspace(60, 120, 41, dtype=torch.float64)
    fine = torch.linspace(60.0005, 119.9995, 60_000, dtype=torch.float64)[:, None]
    density = surrogate.log_prob(fine, at).exp()
    width = 60 / 60_000
    expected = 40_000 * width * density.reshape(40, -1).sum(-1)
    found = torch.histogram(x, edges).hist
    used = expected > 10
    chi2 = ((found - expected)[used].square() / expected[used]).sum().item()
    n = int(used.sum())
    assert chi2 < n + 5 * math.sqrt(2 * n)


class Drawing(ConditionalDensity):
    """A sampler that gives its noise, and a "density" that gives what it draws."""

    options: ClassVar[dict[str, Any]] = {}
    quality = Quality("estimate")

    def __init__(self) -> None:
        super().__init__(1, 0)
        self.scale = torch.nn.Parameter(torch.ones(1))

    def loss(self, u: Tensor, context: Tensor) -> Tensor:
        return -self.log_prob(u, context).value

    def generate(self, noise: Tensor, context: Tensor) -> Tensor:  # noqa: ARG002
        return noise * self.scale

    def log_prob(self, u: Tensor, context: Tensor) -> LogDensity:  # noqa: ARG002
        value = torch.randn(len(u)).double()
        return LogDensity(value, torch.zeros_like(value), self.quality)


def test_a_density_draws_other_numbers_than_the_events_and_than_the_chunk_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hepgen.surrogates.surrogate._NUMBERS", 16 * 100)
    surrogate = Surrogate(
        Drawing(), "flow", FeatureSpace((Feature("x"),), (0.0,), (1.0,)), None,
        Domain((), (), ()), CURVE,
    )  # fmt: skip
    nothing = torch.zeros(0, dtype=torch.float64)
    x, density = surrogate.sample_and_log_prob(200, nothing, seed=1)
    assert torch.equal(x, surrogate.sample(200, nothing, seed=1))
    drawn = (density.value, surrogate.log_prob(x, torch.zeros(200, 0), seed=1))
    for numbers in drawn:
        assert not bool(torch.isin(numbers.float(), x.float()).any())
        assert len(set(numbers.tolist())) == 200


def test_the_most_extreme_value_is_a_number_where_zeros_are_counted() -> None:
    features = (Feature("energy", low=0.0, kind="zero_inflated"), Feature("y"))
    space = FeatureSpace(features, (0.0, 0.0), (1.0, 1.0))
    words = _most_extreme((space, torch.tensor([[math.nan, 1.0], [2.0, 50.0]])))
    assert "y = 50, 50 times" in words


def test_where_no_value_is_extreme_no_column_is_blamed_and_contexts_are_looked_at() -> None:
    space, inputs = (FeatureSpace((Feature(n),), (0.0,), (1.0,)) for n in ("x", "t"))
    u, c = torch.tensor([[1.0], [-4.0]]), torch.tensor([[0.0], [3.0]])
    assert _most_extreme((space, u), (inputs, c)).startswith("no column stands out")
    c[0] = 1e30
    assert "t = 1e+30" in _most_extreme((space, u), (inputs, c))


def test_a_continuous_column_with_many_equal_values_is_refused() -> None:
    x, theta = sample(2000)
    for at, kind in ((0.0, "zero_inflated"), (7.0, "discrete")):
        y = torch.cat([x, x - 90], -1)
        y[::20, 1] = at
        with pytest.raises(DataError, match=rf"'energy', .* is {at:g} in 5.0% .* '{kind}'"):
            Surrogate.fit(
                y, theta, features=[MASS, Feature("energy")], inputs=[Feature("m_z")],
                options={"layers": 1, "hidden": [4]}, epochs=1, device="cpu",
            )  # fmt: skip
